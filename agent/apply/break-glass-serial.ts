/** No approved state has it, so that a change that was cut off is never taken for one. */
export const BREAK_GLASS_SERIAL = -1;
