// What the data path carries: seen one by one, and in numbers.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { findService } from '../control/lookup.ts';
import type { ApiContext } from './context.ts';
import { ApiError } from './errors.ts';
import { described } from './openapi.ts';
import { connectionListing, trafficReading } from './status-schema.ts';
import { validated } from './validate.ts';

const USUAL_LIMIT = 1000;
const MOST_LISTED = 100_000;

const connectionsQuery = z.object({ service: z.string().optional(), limit: z.string().optional() });
const trafficQuery = z.object({ service: z.string().optional() });

export function addTrafficRoutes(app: FastifyInstance, context: ApiContext): void {
  const list = described({
    summary: "Connections and UDP flows that this node's data path has open, the oldest first",
    query: connectionsQuery,
    answers: [{ status: 200, what: 'The connections', schema: connectionListing }],
  });
  app.get('/vipmesh/connections', list, (request) => {
    const { service, limit } = validated(connectionsQuery, request.query, 'query');
    const only = service === undefined ? undefined : findService(context.snapshot(), service).id;
    return context.connections(only, limit === undefined ? USUAL_LIMIT : checkedLimit(limit));
  });
  const read = described({
    summary: 'What services and endpoints have moved through this node since its agent started',
    query: trafficQuery,
    answers: [{ status: 200, what: 'The numbers', schema: trafficReading }],
  });
  app.get('/vipmesh/traffic', read, (request) => {
    const { service } = validated(trafficQuery, request.query, 'query');
    const only = service === undefined ? undefined : findService(context.snapshot(), service).spec.name;
    const reading = context.traffic();
    return { ...reading, Services: reading.Services.filter(({ Name }) => only === undefined || Name === only) };
  });
}

function checkedLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (limit >= 0 && limit <= MOST_LISTED) return limit;
  throw new ApiError('BAD_REQUEST', `limit should be a number from 0 to ${MOST_LISTED}, not "${text}"`);
}
