"""Complaints of ComfyUI's validation, in readable words."""

from __future__ import annotations

from hypothesis import given

from everfold.runner.comfyui.node_errors import MESSAGE_LIMIT, read_problems, read_rejection
from everfold.streams.events.event import Failure, NodeProblem
from tests.comfyui.hostile.test_loose_json import JSON_VALUES


def test_a_missing_checkpoint_is_said_in_one_sentence() -> None:
    body = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed"},
        "node_errors": {
            "4": {
                "errors": [
                    {
                        "type": "value_not_in_list",
                        "message": "Value not in list",
                        "details": "ckpt_name: 'x.safetensors' not in []",
                        "extra_info": {"input_name": "ckpt_name"},
                    }
                ],
                "dependent_outputs": ["9"],
                "class_type": "CheckpointLoaderSimple",
            }
        },
    }
    assert read_rejection(body) == Failure(
        code="invalid_workflow",
        message="ComfyUI rejected the workflow: CheckpointLoaderSimple (node 4), "
        "input ckpt_name: Value not in list ('x.safetensors' not in [])",
        node="4",
        node_class="CheckpointLoaderSimple",
        retryable=False,
        details=[
            NodeProblem(
                node="4",
                node_class="CheckpointLoaderSimple",
                code="value_not_in_list",
                message="Value not in list ('x.safetensors' not in [])",
                input="ckpt_name",
            )
        ],
    )


def test_a_list_of_all_installed_models_is_cut() -> None:
    errors = [{"type": "t", "message": "Value not in list", "details": "model, " * 1000}]
    (problem,) = read_problems({"1": {"errors": errors, "class_type": "X"}})
    assert len(problem.message) == MESSAGE_LIMIT


def test_an_unknown_node_class_is_named() -> None:
    # Newer servers call it missing_node_type; the words are what counts.
    body = {
        "error": {
            "type": "missing_node_type",
            "message": "Node 'NoSuchNode' not found.",
            "details": "Node ID '#1'",
        },
        "node_errors": {},
    }
    failure = read_rejection(body)
    assert failure.code == "invalid_workflow"
    assert failure.message.endswith("Node 'NoSuchNode' not found.: Node ID '#1'")


def test_a_complaint_about_the_request_does_not_blame_the_workflow() -> None:
    body = {"error": {"type": "invalid_prompt_id", "message": "must be a UUID"}}
    assert read_rejection(body).code == "submit_rejected"


def test_a_plain_text_error_is_kept() -> None:
    assert read_rejection({"error": "bad"}).message == "ComfyUI rejected the workflow: bad"


@given(JSON_VALUES, JSON_VALUES)
def test_any_rejection_is_a_failure_that_is_not_tried_again(error: object, nodes: object) -> None:
    failure = read_rejection({"error": error, "node_errors": nodes})
    assert failure.message
    assert not failure.retryable


@given(JSON_VALUES)
def test_any_body_is_a_failure(body: object) -> None:
    assert read_rejection(body).message
