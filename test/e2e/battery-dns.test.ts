import { dnsScenarios, dnsStage } from "../battery/dns-scenarios.ts";
import { playBattery } from "../battery/play.ts";

playBattery(dnsStage, dnsScenarios);
