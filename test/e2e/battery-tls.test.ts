import { playBattery } from "../battery/play.ts";
import { tlsResiduals } from "../battery/residuals.ts";
import { tlsScenarios, tlsStage } from "../battery/tls-scenarios.ts";

playBattery(tlsStage, tlsScenarios, tlsResiduals);
