// The demo's web server: says which task, or which node of a lab, answered. Listens on $VIPMESH_ADDR (a `local` network) or on
// every address of its container or node.
import { createServer } from 'node:http';

const { VIPMESH_TASK: task, VIPMESH_NODE: node, VIPMESH_ADDR: address = '::', PORT: port = '8000' } = process.env;
// Of a task's name, `demo_web.1.tc6c8y486tm7di03yzd8fnwuu`, people read the first two parts.
const name = task?.split('.').slice(0, 2).join('.');
const who = [name, node].filter((one) => one !== undefined).join(' on ') || `pid ${process.pid}`;
const body = `${who} answered\n`;
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
  response.end(body);
});
server.listen(Number(port), address);
process.on('SIGTERM', () => server.close());
