"""Flask: submit and look, and a receiver of callbacks that checks their signature."""

from __future__ import annotations

import os

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from everfold import JobUnknown, SignatureInvalid, sync
from everfold.webhooks import verify
from examples.workflow import small_picture

app = Flask(__name__)
# It connects at its first call, anew in each process of a server that forks.
everfold = sync.connect()
seen: set[str] = set()  # a table of your database in real life


@app.post("/pictures")
def submit() -> ResponseReturnValue:
    order, tell = request.args["order"], request.args.get("tell", "")
    made = everfold.submit(small_picture(), idempotency_key=order, callback=tell)
    return jsonify(made.to_dict()), 201


@app.get("/pictures/<job_id>")
def show(job_id: str) -> ResponseReturnValue:
    try:
        return jsonify(everfold.get(job_id).to_dict())
    except JobUnknown as error:
        return jsonify(error=str(error)), 404


@app.post("/done")
def done() -> ResponseReturnValue:
    secret = os.environ["EVERFOLD_SINK_CALLBACKS_SECRET"]
    try:
        message = verify(request.get_data(), request.headers, secret)
    except SignatureInvalid as error:
        return jsonify(error=str(error)), 401
    if message.id not in seen and message.job is not None:  # a message may come twice
        seen.add(message.id)
        app.logger.info("%s is %s", message.job.job_id, message.job.status)
    return "", 204
