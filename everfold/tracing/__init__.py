"""Spans go to a receiver of OpenTelemetry's protocol, where the environment names one."""
