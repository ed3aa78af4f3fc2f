"""`everfold --install-completion`: what cyclopts needs for it is loaded when it is asked for."""

from __future__ import annotations

from cyclopts.completion.install import create_install_completion_command

from everfold.commands.app import app

install_completion = create_install_completion_command(app.install_completion, add_to_startup=True)
