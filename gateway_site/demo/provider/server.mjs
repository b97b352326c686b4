// The OpenID provider of the demo and of the tests: `node server.mjs CONFIGURATION.json`, on loopback only.
// Whoever can reach it signs in as anybody, by one click: that is what it is for.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

// It warns of what is true and meant here: state in memory, and the oldest Node.js it runs on.
console.warn = console.info = () => {};
const { Provider, errors, interactionPolicy } = await import('oidc-provider');

const read = () => JSON.parse(readFileSync(process.argv[2], 'utf8'));
const configuration = read();
// Read anew each time: who may sign in, and their claims, can change while the provider runs.
const accounts = () => read().accounts;

function signingKeys() {
  const { keys_file: file, key_type: type = 'RSA' } = configuration;
  if (file && existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
  const options = type === 'EC' ? { namedCurve: 'P-256' } : { modulusLength: 2048 };
  const { privateKey } = generateKeyPairSync(type.toLowerCase(), options);
  const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: type === 'EC' ? 'ES256' : 'RS256' };
  if (file) writeFileSync(file, JSON.stringify({ keys: [key] }), { mode: 0o600 });
  return { keys: [key] };
}

async function findAccount(ctx, accountId) {
  const claims = accounts()[accountId];
  return claims && { accountId, claims: () => ({ sub: accountId, ...claims }) };
}

// Nobody is asked for consent: the only client is the gateway, run by the same person.
async function grantWhatIsAsked(ctx) {
  const { client, session, provider, requestParamScopes } = ctx.oidc;
  // The one that codes of other tabs belong to: with another one in its place those would be worth nothing.
  const known = await provider.Grant.find(session.grantIdFor(client.clientId) ?? '');
  const grant = known ?? new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope([...requestParamScopes].join(' '));
  for (const [resource, { scopes }] of Object.entries(ctx.oidc.resourceServers ?? {})) {
    grant.addResourceScope(resource, [...scopes].join(' '));
  }
  await grant.save();
  return grant;
}

const escaped = (text) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

function page(title, body) {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 24rem; margin: 3rem auto; padding: 0 1rem; }
  button { font: inherit; display: block; width: 100%; margin: .5rem 0; padding: .6rem; }
</style>
<main><h1>${escaped(title)}</h1>${body}</main>
</html>
`;
}

// For tests: access tokens for one audience, as JWTs or opaque ones, which its resource server introspects.
function accessTokens() {
  const { jwt_tokens: jwt, opaque_tokens: opaque } = configuration;
  const { audience, scope, signed } = jwt ?? opaque ?? {};
  if (!audience) return {};
  return {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    jwtIntrospection: { enabled: Boolean(signed) },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ audience, scope, accessTokenFormat: jwt ? 'jwt' : 'opaque' }),
    },
  };
}

// `resources`: scopes by the address of each API for which programs, who register themselves, get tokens.
const { resources } = configuration;
const resourceScopes = Object.values(resources ?? {}).flatMap((scopes) => scopes.split(' '));
const protectedResources = resources && {
  registration: { enabled: true },
  resourceIndicators: {
    enabled: true,
    useGrantedResource: () => true,
    getResourceServerInfo: (ctx, resource) => {
      if (!Object.hasOwn(resources, resource)) throw new errors.InvalidTarget();
      return { scope: resources[resource], audience: resource, accessTokenFormat: 'jwt' };
    },
  },
};

// Programs on a person's machine would be asked for consent each time.
const interactions = { policy: interactionPolicy.base() };
interactions.policy.get('consent').checks.remove('native_client_prompt');

const provider = new Provider(configuration.issuer, {
  clients: configuration.clients,
  findAccount,
  loadExistingGrant: grantWhatIsAsked,
  jwks: signingKeys(),
  scopes: ['openid', 'offline_access', ...resourceScopes],
  claims: { email: ['email', 'email_verified'], profile: ['name', 'groups'] },
  conformIdTokenClaims: !configuration.claims_in_id_token,
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  pkce: { required: () => configuration.pkce_required ?? true },
  issueRefreshToken: async (ctx, client) => Boolean(configuration.refresh_tokens && client.grantTypeAllowed('refresh_token')),
  rotateRefreshToken: Boolean(configuration.rotate_refresh_tokens),
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400,
    Session: 86400, ...configuration.ttl },
  // The library's own refuses loopback addresses; here every client is on loopback.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  interactions,
  features: {
    ...accessTokens(),
    ...protectedResources,
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: async (ctx, form) => {
        ctx.body = page('Sign out', `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
      },
      postLogoutSuccessSource: async (ctx) => { ctx.body = page('Signed out', ''); },
    },
  },
  renderError: async (ctx, out) => {
    ctx.type = 'html';
    ctx.body = page(out.error, `<p>${escaped(out.error_description ?? '')}</p>`);
  },
});
for (const event of ['server_error', 'backchannel.error']) {
  provider.on(event, (ctx, error) => console.error(event, error.message));
}

async function body(request) {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > 10_000) throw new Error('too long');
  }
  return new URLSearchParams(text);
}

async function chooseAccount(request, response) {
  const { prompt } = await provider.interactionDetails(request, response);
  if (request.method === 'POST') {
    const accountId = (await body(request)).get('account');
    const result = Object.hasOwn(accounts(), accountId) ? { login: { accountId } } : { error: 'access_denied' };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    return;
  }
  if (prompt.name !== 'login') throw new Error(`cannot ask for ${prompt.name}`);
  const buttons = Object.entries(accounts()).map(
    ([name, { email }]) => `<button name="account" value="${escaped(name)}">${escaped(name)} (${escaped(email)})</button>`,
  );
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  const { form_action: formAction } = configuration; // for tests: where its form may lead
  if (formAction) response.setHeader('Content-Security-Policy', `form-action ${formAction}`);
  response.end(page('Who are you?', `<form method="post">${buttons.join('')}
<button name="account" value="">Nobody: cancel</button></form>`));
}

const application = provider.callback();
const host = new URL(configuration.issuer).host;
createServer((request, response) => {
  // By another name than its own only a page elsewhere would ask (DNS rebinding).
  if (request.headers.host !== host) return response.writeHead(421).end();
  if (!request.url.startsWith('/interaction/')) return application(request, response);
  return chooseAccount(request, response).catch((error) => {
    response.writeHead(400, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(page('This sign-in cannot go on', `<p>${escaped(error.message)}</p>`));
  });
}).listen(configuration.port, '127.0.0.1');
