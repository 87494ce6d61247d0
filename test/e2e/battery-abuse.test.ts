import { abuseScenarios, abuseStage } from "../battery/abuse-scenarios.ts";
import { playBattery } from "../battery/play.ts";

playBattery(abuseStage, abuseScenarios);
