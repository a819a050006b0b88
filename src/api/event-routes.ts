// GET /events: one JSON object a line, as long as the client listens.
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../runtime/clock.ts';
import type { EventLog } from './event-log.ts';
import { eventMatches, refuseUnknownEventFilters } from './event-shape.ts';
import { parseFilters } from './filters.ts';
import { described } from './openapi.ts';
import { type DockerEvent, dockerEvent, eventsQuery } from './requests.ts';
import { validated } from './validate.ts';

/** A client that does not read is cut off, so that it costs no more memory than this. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** The longest that a timer can wait. Whoever asks for longer gets no end. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** `streams` holds a function for each answer that is being streamed; calling it ends that answer. */
export function addEventRoutes(app: FastifyInstance, events: EventLog, clock: Clock, streams: Set<() => void>): void {
  const route = described({
    summary: 'What happens, one JSON object a line; with `since`, first what happened since then',
    query: eventsQuery,
    answers: [{ status: 200, what: 'A stream of objects, each on a line of its own', schema: dockerEvent }],
  });
  // Without HEAD: an answer without a body would never end.
  app.get('/events', { ...route, exposeHeadRoute: false }, (request, reply) => {
    const query = validated(eventsQuery, request.query, 'query');
    const filters = parseFilters(query.filters);
    refuseUnknownEventFilters(filters);
    const until = query.until === undefined ? Number.POSITIVE_INFINITY : Number(query.until) * 1e9;
    reply.hijack();
    const { raw } = reply;
    const write = (event: DockerEvent) => {
      if (eventMatches(event, filters)) writeLine(raw, event);
    };
    raw.writeHead(200, { 'content-type': 'application/json' });
    raw.flushHeaders();
    if (query.since !== undefined) for (const event of events.between(Number(query.since) * 1e9, until)) write(event);
    const leftMs = until / 1e6 - clock.wallTime();
    if (leftMs <= 0) {
      raw.end();
      return;
    }
    const unfollow = events.follow(write);
    const timer = leftMs <= MAX_TIMER_MS ? clock.schedule(leftMs, () => raw.end()) : undefined;
    const end = () => void raw.end();
    streams.add(end);
    raw.on('error', () => raw.destroy());
    raw.once('close', () => {
      unfollow();
      timer?.cancel();
      streams.delete(end);
    });
  });
}

function writeLine(raw: ServerResponse, event: DockerEvent): void {
  if (raw.writableEnded || raw.destroyed) return;
  raw.write(`${JSON.stringify(event)}\n`);
  if (raw.writableLength > MAX_UNREAD_BYTES) raw.destroy();
}
