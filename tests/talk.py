"""How a test talks to a running server, over HTTP and over a websocket."""

import asyncio
import http.client
import json
import struct
import threading
import time


class Talk:
    """Over `self.port` of this machine."""

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, bytes). The path goes out exactly as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path):
        """The JSON of an answer that must be good."""
        status, _, body = self.ask("GET", path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def post(self, path, content=None, expected=200):
        body = None if content is None else json.dumps(content)
        status, _, body = self.ask("POST", path, body, {"Content-Type": "application/json"})
        assert status == expected, (path, status, body)
        return json.loads(body) if body else None

    def until(self, condition, seconds=60):
        ends = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < ends, "it didn't happen"
            time.sleep(0.02)
        return found

    def window(self, client_id, flags=None):
        return Window(self, client_id, flags)


class Window:
    """A websocket, whose messages are collected in `heard`: (event, data), or (type, bytes) of a binary frame."""

    def __init__(self, editor, client_id, flags=None):
        self.heard, self.open, self.editor = [], threading.Event(), editor
        self.url = f"http://127.0.0.1:{editor.port}/api/ws?clientId={client_id}"
        self.flags, self.task, self.loop = flags, None, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.open.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(20)

    def names(self):
        return [name for name, _ in self.heard]

    def data(self, name):
        return [data for event, data in list(self.heard) if event == name]

    def wait_for(self, name, seconds=60, **facts):
        """The first such event whose data holds these facts."""
        return self.editor.until(
            lambda: next((one for one in self.data(name) if facts.items() <= one.items()), None), seconds
        )

    def _run(self):
        asyncio.run(self._listen())

    async def _listen(self):
        import aiohttp

        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(self.url, max_msg_size=0) as socket:
                await socket.send_str(json.dumps({"type": "feature_flags", "data": self.flags or {}}))
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        self.heard.append((struct.unpack(">I", message.data[:4])[0], message.data[4:]))
                    else:
                        content = json.loads(message.data)
                        self.heard.append((content["type"], content["data"]))
                    if len(self.heard) == 2:
                        self.open.set()
        except asyncio.CancelledError:
            pass
