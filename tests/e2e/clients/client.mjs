// Node's own fetch: credentials in the body, connections kept alive.
const { BASE, CLIENT_ID, CLIENT_SECRET, CERTIFICATE, ALGORITHM, SIGNATURE } = process.env;

async function ask(path, fields, secret = CLIENT_SECRET) {
  const body = new URLSearchParams({ client_id: CLIENT_ID, client_secret: secret, ...fields });
  const answer = await fetch(BASE + path, { method: "POST", body });
  return { status: answer.status, code: answer.headers.get("x-ca-err"), body: await answer.json() };
}

const passport = { certificate: CERTIFICATE, algorithm: ALGORITHM, signature: SIGNATURE, scope: "client_registration" };
const first = (await ask("", { grant_type: "passport", ...passport })).body;
const next = (await ask("", { grant_type: "refresh_token", refresh_token: first.refresh_token })).body;
const active = async () => (await ask("/introspect", { token: next.access_token })).body.active;
const before = await active();
const revoked = await ask("/revoke", { token: next.access_token });
const after = await active();
const refused = await ask("", { grant_type: "refresh_token", refresh_token: next.refresh_token });
const denied = await ask("", { grant_type: "passport", ...passport }, "wrong");
console.log(
  JSON.stringify({
    first: [first.access_token, first.refresh_token, first.expires_in, first.scope],
    next: [next.access_token, next.refresh_token],
    before,
    revoked: revoked.body.result,
    after,
    refused: [refused.status, refused.code, refused.body.error],
    denied: [denied.status, denied.code, denied.body.error],
  }),
);
