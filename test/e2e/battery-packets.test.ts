import { packetScenarios, packetStage } from "../battery/packet-scenarios.ts";
import { playBattery } from "../battery/play.ts";
import { packetResiduals } from "../battery/residuals.ts";

playBattery(packetStage, packetScenarios, packetResiduals);
