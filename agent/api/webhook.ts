import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** Forges whose webhooks are understood. Forgejo and Gitea sign alike. */
export const webhookForges = ["github", "gitlab", "gitea", "forgejo"] as const;
export type WebhookForge = (typeof webhookForges)[number];

export interface WebhookCall {
  readonly forge: WebhookForge;
  readonly headers: { readonly [name: string]: string | readonly string[] | undefined };
  readonly body: Buffer;
}

/** Judges calls of a forge: signed with the shared secret, and not seen before. */
export interface WebhookJudge {
  judge(call: WebhookCall, secret: string): "accepted" | "wrong-signature" | "replayed";
}

/** Deliveries that are remembered; each push has another body. */
const MAX_REMEMBERED = 10_000;

/**
 * Returns a judge. A delivery is known by its signed bytes: an identifier in a header is not signed, so whoever replays
 * could change it. A call can cause a poll and nothing else, so that nothing in its body is believed or even read.
 */
export function createWebhookJudge(): WebhookJudge {
  const seen = new Set<string>();
  return {
    judge: (call, secret) => {
      if (!isSigned(call, secret)) return "wrong-signature";
      const id = createHash("sha256")
        .update(`${call.forge}\0${deliveryOf(call)}\0`)
        .update(call.body)
        .digest("hex");
      if (seen.has(id)) return "replayed";
      const [oldest] = seen.size >= MAX_REMEMBERED ? seen : [];
      if (oldest !== undefined) seen.delete(oldest);
      seen.add(id);
      return "accepted";
    },
  };
}

function isSigned({ forge, headers, body }: WebhookCall, secret: string): boolean {
  const textOf = (name: string): string => {
    const value = headers[name];
    return typeof value === "string" ? value : "";
  };
  // GitLab sends the secret itself; the other forges an HMAC of the body.
  if (forge === "gitlab") return equal(textOf("x-gitlab-token"), secret);
  const mac = createHmac("sha256", secret).update(body).digest("hex");
  if (forge === "github") return equal(textOf("x-hub-signature-256"), `sha256=${mac}`);
  return equal(textOf(forge === "gitea" ? "x-gitea-signature" : "x-forgejo-signature"), mac);
}

/** GitLab does not sign the body, so the identifier of the event is all that tells two deliveries apart. */
function deliveryOf({ forge, headers }: WebhookCall): string {
  return forge === "gitlab" ? String(headers["x-gitlab-event-uuid"] ?? "") : "";
}

/** Digests have the same length whatever was sent, and take the same time to compare. */
function equal(shown: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(shown), digest(expected));
}
