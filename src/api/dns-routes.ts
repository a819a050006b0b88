// What the resolver keeps of its upstreams' answers: seen, and forgotten.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiContext } from './context.ts';
import { ApiError } from './errors.ts';
import { described } from './openapi.ts';
import { dnsCache, flushed, flushRequest } from './status-schema.ts';
import { validated } from './validate.ts';

const USUAL_LIMIT = 1000;
const MOST_LISTED = 100_000;

const cacheQuery = z.object({ below: z.string().min(1).max(254).optional(), limit: z.string().optional() });

export function addDnsRoutes(app: FastifyInstance, context: ApiContext): void {
  const list = described({
    summary: "What the resolver keeps of upstreams' answers, the newest first",
    query: cacheQuery,
    answers: [{ status: 200, what: 'The answers', schema: dnsCache }],
  });
  app.get('/vipmesh/dns/cache', list, (request) => {
    const { below, limit } = validated(cacheQuery, request.query, 'query');
    return context.dnsCache(checkedName(below), limit === undefined ? USUAL_LIMIT : checkedLimit(limit));
  });
  const flush = described({
    summary: 'Forgets what is kept of a name and those below it, or everything',
    body: flushRequest,
    example: { Below: 'corp.example' },
    answers: [{ status: 200, what: 'How many answers were forgotten', schema: flushed }],
  });
  app.post('/vipmesh/dns/cache/flush', flush, async (request) => {
    const below = checkedName(validated(flushRequest, request.body).Below);
    const { Total } = await context.dnsCache(below, 0);
    await context.flushDnsCache(below);
    return { Forgotten: Total };
  });
}

function checkedLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (limit >= 0 && limit <= MOST_LISTED) return limit;
  throw new ApiError('BAD_REQUEST', `limit should be a number from 0 to ${MOST_LISTED}, not "${text}"`);
}

/** A name as the DNS carries it: labels of 1 to 63 printable characters. */
function checkedName(name: string | undefined): string | undefined {
  if (name === undefined || name === '.' || /^[!-~]+$/.test(name)) {
    const labels = name === undefined || name === '.' ? [] : name.replace(/\.$/, '').split('.');
    if (labels.every((label) => label.length > 0 && label.length <= 63)) return name;
  }
  throw new ApiError('BAD_REQUEST', `"${name}" is no domain name; one is wanted such as example.com`);
}
