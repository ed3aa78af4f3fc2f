"""FastAPI: submit, look, and follow a job as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from everfold import Everfold, Job, JobUnknown, SubmittedJob
from examples.workflow import small_picture


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # One client for the whole process: it is fast when it is open, and many requests share it.
    async with Everfold.connect() as client:
        app.state.everfold = client
        yield


app = FastAPI(lifespan=lifespan)


def client(request: Request) -> Everfold:
    found: Everfold = request.app.state.everfold
    return found


Client = Annotated[Everfold, Depends(client)]


@app.post("/pictures")
async def submit(order: str, everfold: Client) -> SubmittedJob:
    # A repeated order is the same job, however often a browser sends it.
    return await everfold.submit(small_picture(), user="ada", idempotency_key=order)


@app.get("/pictures/{job_id}")
async def show(job_id: str, everfold: Client) -> Job:
    try:
        return await everfold.get(job_id)
    except JobUnknown as error:
        raise HTTPException(404, str(error)) from error


@app.get("/pictures/{job_id}/events")
async def follow(job_id: str, request: Request, everfold: Client) -> StreamingResponse:
    # A browser that reconnects says what it saw last, and misses nothing.
    seen = request.headers.get("last-event-id", "")
    after = int(seen) if seen.isdecimal() else 0

    async def events() -> AsyncIterator[str]:
        async for job in everfold.watch(job_id, after_seq=after):
            yield f"id: {job.seq}\ndata: {job.status} {job.progress:.0%}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
