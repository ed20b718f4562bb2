// An OpenID provider that is not ours: npm's oidc-provider with its own sign-in pages.
// Prints {"issuer": …} on one line once it listens, and ends with its standard input.
//
//   node oidc-provider.mjs PACKAGES [--registration]
//
// PACKAGES is the folder whose node_modules holds the provider. Beside the provider's own
// endpoints, /-/issued lists every secret it has made and /-/grants every token request.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [packages, ...flags] = process.argv.slice(2);
const resolve = createRequire(`${packages}/package.json`).resolve;
// It warns of http and of development keys, which is what a test is made of.
console.warn = () => {};
console.info = () => {};
const { default: Provider } = await import(pathToFileURL(resolve('oidc-provider')));

const issued = [];
const grants = [];

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration(flags.includes('--registration')));
  record(provider);
  const serve = provider.callback();
  server.on('request', (request, response) => {
    if (request.url === '/-/issued') return answer(response, issued);
    if (request.url === '/-/grants') return answer(response, grants);
    return serve(request, response);
  });
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

function configuration(registration) {
  return {
    clients: [
      {
        client_id: 'native',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback'],
        response_types: ['code'],
        grant_types: [
          'authorization_code',
          'refresh_token',
          'urn:ietf:params:oauth:grant-type:device_code',
        ],
      },
      {
        client_id: 'service',
        client_secret: 'service-secret-of-the-test',
        redirect_uris: [],
        response_types: [],
        grant_types: ['client_credentials'],
      },
    ],
    scopes: ['openid', 'offline_access', 'email', 'read:waveforms'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      registration: { enabled: registration },
      resourceIndicators: { enabled: false },
      revocation: { enabled: true },
      userinfo: { enabled: true },
    },
    rotateRefreshToken: true,
    ttl: { AccessToken: 3600, ClientCredentials: 600, RefreshToken: 86400 },
    cookies: { keys: ['a key for the life of this process'] },
    async findAccount(_context, sub) {
      return {
        accountId: sub,
        claims: async () => ({ sub, email: `${sub}@provider.test`, email_verified: true }),
      };
    },
  };
}

function record(provider) {
  const kinds = [
    'access_token',
    'authorization_code',
    'client_credentials',
    'device_code',
    'refresh_token',
  ];
  for (const kind of kinds) {
    provider.on(`${kind}.saved`, (token) => {
      // Codes are saved a second time when they are used.
      const known = issued.some(({ secret }) => secret === token.jti);
      if (!known) issued.push({ kind, secret: token.jti });
    });
  }
  provider.on('grant.success', (context) => note(context, null));
  provider.on('grant.error', (context, error) => note(context, error.error));
}

function note(context, error) {
  grants.push({ grant_type: context.oidc.params?.grant_type ?? null, error });
}

function answer(response, value) {
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}
