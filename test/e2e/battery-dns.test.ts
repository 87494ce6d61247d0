import { dnsScenarios } from "../battery/dns-scenarios.ts";
import { dnsStage } from "../battery/dns-stage.ts";
import { playBattery } from "../battery/play.ts";

playBattery(dnsStage, dnsScenarios);
