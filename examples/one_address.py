"""One address, three ComfyUI servers behind it, and kill -9: every picture arrives.

The client speaks plain HTTP, as any client of ComfyUI does. With the name of a file it draws there
what happened. Needs REDIS_URL (or `everfold up` on this machine).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import anyio
import httpx

JOBS = 12
NAMESPACE = "one-address"


def graph(color: int) -> dict[str, object]:
    """Return a graph that works for a second and a half, and saves a picture."""
    image = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    steps = {"image": ["1", 0], "seconds": 1.5, "steps": 15, "preview": False, "seed": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "JTSleepProgress", "inputs": steps},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "one"}},
    }


class Command:
    """An `everfold` command as a process of its own."""

    def __init__(self, folder: str, *arguments: str) -> None:
        self.arguments = arguments
        own = {"EVERFOLD_NAMESPACE": NAMESPACE, "EVERFOLD_ASSETS": f"{folder}/assets"}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "everfold", *arguments],
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def address(self, word: str) -> str:
        """Return the address with which its first line that has a word ends."""
        assert self.child.stdout is not None
        found = next((line.split()[-1] for line in self.child.stdout if word in line), None)
        if found is None:
            name = self.arguments[0]
            sys.exit(f"everfold {name} has ended: is REDIS_URL right, or `everfold up` running?")
        return found

    def kill(self) -> None:
        """SIGKILL: what a crash, an out-of-memory kill or a power cut looks like."""
        self.child.kill()
        self.child.wait()


class Farm:
    """Three servers, two runners, a projector and the gateway."""

    def __init__(self, folder: str, closing: ExitStack) -> None:
        self._folder, self._closing = folder, closing
        self.servers = [self._start_server(number) for number in range(3)]
        self.addresses = [server.address("listening on") for server in self.servers]
        named = [f"gpu{n}={url}" for n, url in enumerate(self.addresses, 1)]
        served = [part for one in named for part in ("--comfyui", one)]
        self.start("projector")
        self.runners = [self.start("runner", *served, "--name", name) for name in ("anna", "bert")]
        gateway = self.start("serve", "--port", "0")
        self.address = gateway.address("gateway")
        gateway.address("ready")

    def start(self, *arguments: str) -> Command:
        command = Command(self._folder, *arguments)
        self._closing.callback(command.kill)
        return command

    def _start_server(self, number: int, port: str = "0") -> Command:
        return self.start("simulator", "--port", port, "--output", f"{self._folder}/gpu{number}")

    def restart_server(self, number: int) -> None:
        """Kill a server, and start it anew at its address, as a supervisor does."""
        self.servers[number].kill()
        port = self.addresses[number].rpartition(":")[2]
        self._start_server(number, port).address("listening on")

    def draw(self, path: str) -> None:
        """Draw what happened, from the log."""
        self.start("audit", "timeline", "--by", "backend", "--svg", path).child.wait(30)


async def main(folder: str, path: str = "") -> None:
    with ExitStack() as closing:
        farm = Farm(folder, closing)
        print(f"one address: {farm.address}, with {len(farm.servers)} servers behind it")
        async with httpx.AsyncClient(base_url=farm.address, timeout=30) as client:
            prompts = [await submit(client, number) for number in range(JOBS)]
            await until(client, prompts, ended=3)
            farm.runners[0].kill()
            print("runner anna: kill -9")
            await until(client, prompts, ended=6)
            farm.restart_server(1)
            print("server gpu2: kill -9, and started anew")
            await until(client, prompts, ended=JOBS)
            pictures = [await picture(client, prompt) for prompt in prompts]
        print(f"{len(pictures)} pictures of {len(set(pictures))} colours for {JOBS} prompts")
        if path:
            farm.draw(path)


async def submit(client: httpx.AsyncClient, number: int) -> str:
    answer = await client.post("/prompt", json={"prompt": graph(0x0C1020 * (number + 1))})
    return str(answer.raise_for_status().json()["prompt_id"])


async def until(client: httpx.AsyncClient, prompts: list[str], ended: int) -> None:
    """Wait until so many prompts have ended."""
    while True:
        history = (await client.get("/history")).raise_for_status().json()
        if len(history.keys() & set(prompts)) >= ended:
            return
        await anyio.sleep(0.2)


async def picture(client: httpx.AsyncClient, prompt: str) -> bytes:
    """Fetch the picture of a prompt that has ended."""
    found = (await client.get(f"/history/{prompt}")).raise_for_status().json()
    (image,) = found[prompt]["outputs"]["3"]["images"]
    answer = await client.get("/view", params=image)
    return answer.raise_for_status().content


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        anyio.run(main, made, "".join(sys.argv[1:2]))
