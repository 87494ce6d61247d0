// What the Git server does wrong on request. `before` faults need no answer of git; the others spoil a real one.

/** Answers a request wrongly in the way that `fault.kind` names. */
export function injectFault(fault, { response, raw, step, answer }) {
  const act = acts[fault.kind];
  if (act === undefined) throw new Error(`unknown fault ${fault.kind}`);
  act({ response, raw, step, answer, fault });
}

const acts = {
  status: ({ response, fault }) => {
    const headers = { "content-type": "text/plain" };
    if (fault.status === 401) headers["www-authenticate"] = 'Basic realm="lab"';
    response.writeHead(fault.status, headers);
    response.end(`fault ${fault.status}\n`);
  },
  html: ({ response }) => {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
    response.end("<!doctype html><title>Sign in</title><p>Please sign in.</p>\n");
  },
  redirect: ({ response, fault }) => {
    response.writeHead(302, { location: fault.location ?? "https://www.denied.test/elsewhere.git" });
    response.end();
  },
  empty: ({ response, step }) => {
    response.writeHead(200, { "content-type": contentType(step) });
    response.end();
  },
  reset: ({ raw }) => raw.resetAndDestroy(),
  silence: () => {},
  /** A TCP reset in the middle of the body. */
  cut: ({ response, raw, answer }) => {
    response.writeHead(answer.status, { ...answer.headers, "content-length": answer.body.length });
    response.write(answer.body.subarray(0, Math.floor(answer.body.length / 2)), () => raw.resetAndDestroy());
  },
  /** The first half of the body, then a clean end, so that only the content tells. */
  truncate: ({ response, answer }) => {
    response.writeHead(answer.status, answer.headers);
    response.end(answer.body.subarray(0, Math.floor(answer.body.length / 2)));
  },
  /** One byte a second. */
  slow: ({ response, answer }) => {
    response.writeHead(answer.status, answer.headers);
    let offset = 0;
    const timer = setInterval(() => {
      if (offset >= answer.body.length) response.end();
      else response.write(answer.body.subarray(offset, ++offset));
    }, 1000);
    response.on("close", () => clearInterval(timer));
  },
  /** One bit of the largest piece of pack data is other than git sent it. */
  flip: ({ response, answer }) => {
    const body = Buffer.from(answer.body);
    const at = middleOfPack(body);
    body[at] ^= 0x01;
    response.writeHead(answer.status, answer.headers);
    response.end(body);
  },
  /** Well-formed packets for ever: references, or progress messages in front of a pack. */
  endless: ({ response, step }) => {
    response.writeHead(200, { "content-type": contentType(step) });
    const chunk = endlessChunk(step);
    const push = () => {
      while (!response.destroyed && response.write(chunk));
    };
    if (step === "info-refs") response.write(`${packet("# service=git-upload-pack\n")}0000`);
    if (step === "fetch") response.write(packet("packfile\n"));
    response.on("drain", push);
    push();
  },
};

function contentType(step) {
  return step === "info-refs" ? "application/x-git-upload-pack-advertisement" : "application/x-git-upload-pack-result";
}

function packet(text) {
  return (Buffer.byteLength(text) + 4).toString(16).padStart(4, "0") + text;
}

function endlessChunk(step) {
  const line =
    step === "fetch"
      ? packet(`\x02${"progress ".repeat(100)}`)
      : packet(`${"0123456789".repeat(4)} refs/heads/endless\n`);
  return line.repeat(64);
}

/** Offset of the middle byte of the longest side-band 1 packet (gitprotocol-pack). */
function middleOfPack(body) {
  let best = { offset: -1, length: 0 };
  for (let offset = 0; offset + 4 <= body.length; ) {
    const length = Number.parseInt(body.subarray(offset, offset + 4).toString("latin1"), 16);
    if (Number.isNaN(length)) break;
    if (length > 5 && body[offset + 4] === 1 && length > best.length) best = { offset, length };
    offset += Math.max(length, 4);
  }
  if (best.offset < 0) throw new Error("the answer holds no pack to spoil");
  return best.offset + 5 + Math.floor((best.length - 5) / 2);
}
