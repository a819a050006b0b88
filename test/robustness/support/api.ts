// One request to an agent's API over its socket, so that a test can tell a refusal from an agent that is gone.
import { request } from 'node:http';

export interface ApiAnswer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers of every kind; tests say themselves what they expect.
  readonly json: any;
}

/** Undefined when the agent ended before it had answered: nobody knows whether it did what it was asked. */
export function ask(socketPath: string, method: string, path: string, body?: unknown): Promise<ApiAnswer | undefined> {
  return new Promise((resolve) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const outgoing = request({ socketPath, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => resolve(undefined));
      response.on('end', () => {
        if (!response.complete) resolve(undefined);
        else resolve({ status: response.statusCode ?? 0, json: parsed(Buffer.concat(chunks).toString()) });
      });
    });
    outgoing.on('error', () => resolve(undefined));
    outgoing.end(text);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
