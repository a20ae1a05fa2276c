/* The floor: what a Node process costs that listens on a socket and answers, without anything behind it. The one argument is a port or a path. */
import { createServer } from "node:net";

const answer = Buffer.from("80010000000a00000000", "hex");
const [place] = process.argv.slice(2);
const server = createServer({ noDelay: true }, (socket) => {
  socket.on("data", () => socket.write(answer));
  socket.on("error", () => socket.destroy());
});
if (/^\d+$/.test(place)) server.listen(Number(place), "127.0.0.1");
else server.listen(place);
