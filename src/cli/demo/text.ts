// What the demos write for people, and for the agent. PURE.

export const WEB_PORT = 8080;
/** What the web server listens on. */
const TARGET_PORT = 8000;

/** The demo's services: `web` and `postgres`, and `app`, whose tasks the reader starts. */
export function stackFile({ port, webTasks, driver, withDatabase }: StackWish): string {
  const database = `  postgres:
    expose: ["5432"]
    x-vipmesh:
      health: { tcp: 5432, interval: 250ms }
`;
  return `services:
  web:
    deploy: { replicas: ${webTasks} }
    ports: ["${port}:${TARGET_PORT}"]
    x-vipmesh:
      health: { http: /, interval: 250ms }
${withDatabase ? database : ''}  app: {}
networks:
  default: { driver: ${driver} }
`;
}

export interface StackWish {
  /** The published one. */
  readonly port: number;
  readonly webTasks: number;
  readonly driver: 'overlay' | 'local';
  readonly withDatabase: boolean;
}

/** Command lines with a remark behind some of them, one below the other. */
export function commandLines(lines: readonly (readonly [command: string, remark?: string])[]): readonly string[] {
  const width = Math.max(0, ...lines.flatMap(([command, remark]) => (remark === undefined ? [] : [command.length])));
  return lines.map(([command, remark]) =>
    remark === undefined ? `  ${command}` : `  ${command.padEnd(width)}    # ${remark}`,
  );
}
