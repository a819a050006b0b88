// The demo's web server: says which task, or which node of a lab, answered. Listens on $VIPMESH_ADDR (a `local` network) or on
// every address of its container or node.
import { createServer } from 'node:http';

const task = process.env.VIPMESH_TASK ?? process.env.VIPMESH_NODE ?? `pid ${process.pid}`;
const body = `${task} answered\n`;
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
  response.end(body);
});
server.listen(Number(process.env.PORT ?? '8000'), process.env.VIPMESH_ADDR ?? '::');
process.on('SIGTERM', () => server.close());
