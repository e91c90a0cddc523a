import type { Share } from "./halley.js";

/** Share one connection among all tabs of a browser that have the same URL of Halley, and the same user. For one client:
 *
 *     new Halley(url, { share: tabs() })
 */
export declare function tabs(): Share;
