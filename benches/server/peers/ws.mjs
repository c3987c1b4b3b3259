// The peer "Node with ws": one process, every socket is told what is posted to /publish. `node ws.mjs PORT`.
// Chosen to its advantage: no compression (off by default), no pings, and a frame's bytes are made once and written to
// each socket as they are, where `client.send` would make a header for each.
import http from "node:http";
import { Sender, WebSocketServer } from "ws";

const TEXT = { fin: true, opcode: 1, mask: false, readOnly: false, rsv1: false };

const sockets = new Set();
const live = new WebSocketServer({ noServer: true, clientTracking: false, perMessageDeflate: false });

const server = http.createServer(async (request, response) => {
  if (request.url === "/publish") {
    const parts = [];
    for await (const part of request) parts.push(part);
    const frame = Buffer.concat(Sender.frame(Buffer.concat(parts), { ...TEXT }));
    for (const socket of sockets) socket.write(frame);
  }
  response.end();
});

server.on("upgrade", (request, socket, head) => {
  live.handleUpgrade(request, socket, head, (client) => {
    sockets.add(socket);
    client.on("error", () => {}); // a socket that breaks is closed, which is all that is to be known of it
    client.on("close", () => sockets.delete(socket));
  });
});

server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
