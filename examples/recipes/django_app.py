"""Django: two views and a management command."""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.management.base import BaseCommand
from django.http import HttpRequest, JsonResponse
from django.urls import path

from everfold import JobUnknown, sync
from examples.workflow import small_picture

# In settings.py, or beside your models. It connects at its first call, anew in each process.
everfold = sync.connect()


def submit(request: HttpRequest) -> JsonResponse:
    made = everfold.submit(small_picture(), idempotency_key=request.GET["order"])
    return JsonResponse(made.to_dict(), status=201)


def show(request: HttpRequest, job_id: str) -> JsonResponse:
    try:
        return JsonResponse(everfold.get(job_id).to_dict())
    except JobUnknown as error:
        return JsonResponse({"error": str(error)}, status=404)


urlpatterns = [path("pictures", submit), path("pictures/<str:job_id>", show)]


class Command(BaseCommand):  # type: ignore[misc]  # Django brings no types
    """As management/commands/follow_pictures.py it is `manage.py follow_pictures JOB`."""

    def add_arguments(self, parser: object) -> None:
        parser.add_argument("job_id")  # type: ignore[attr-defined]

    def handle(self, *args: object, **options: object) -> None:
        for job in everfold.watch(str(options["job_id"])):  # Ctrl-C leaves it
            self.stdout.write(f"{job.status} {job.progress:.0%}")


if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of this example")
    django.setup()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
