"""The kubelet's probes: gRPC, HTTP, TCP and commands, with their periods, timeouts and thresholds."""

import http.client
import socket
import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from k8s.local_cluster.container import Container


class Probe:
    """One probe of a container; `ports` are the container's ports by name. Periods are multiplied by `scale`."""

    def __init__(self, spec: dict[str, Any], ports: dict[str, int], scale: float = 1.0) -> None:
        self._spec, self._ports = spec, ports
        self.period = spec.get("periodSeconds", 10) * scale
        self.delay = spec.get("initialDelaySeconds", 0) * scale
        self.timeout = float(spec.get("timeoutSeconds", 1))
        self.failures = int(spec.get("failureThreshold", 3))
        self.successes = int(spec.get("successThreshold", 1))

    def check(self, address: str, container: Container) -> str:
        """Return why the probe fails now, nothing where it succeeds."""
        spec = self._spec
        if "grpc" in spec:
            return self._grpc(f"{address}:{self._port(spec['grpc'])}", spec["grpc"].get("service", ""))
        if "httpGet" in spec:
            return self._http(address, self._port(spec["httpGet"]), spec["httpGet"]["path"])
        if "tcpSocket" in spec:
            try:
                socket.create_connection((address, self._port(spec["tcpSocket"])), self.timeout).close()
            except OSError as error:
                return str(error)
            return ""
        code = container.execute(spec["exec"]["command"], self.timeout)
        return f"exit code {code}" if code else ""

    def _port(self, target: dict[str, Any]) -> int:
        port = target["port"]
        return self._ports[port] if isinstance(port, str) else int(port)

    def _grpc(self, target: str, service: str) -> str:
        with grpc.insecure_channel(target) as channel:
            try:
                asked = health_pb2.HealthCheckRequest(service=service)
                answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=self.timeout)
            except grpc.RpcError as error:
                return f"{error.code().name}"
        serving = health_pb2.HealthCheckResponse.ServingStatus
        return "" if answer.status == serving.SERVING else serving.Name(answer.status)

    def _http(self, address: str, port: int, path: str) -> str:
        connection = http.client.HTTPConnection(address, port, timeout=self.timeout)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        return "" if 200 <= status < 400 else f"HTTP {status}"

    def watch(
        self, address: str, container: Container, stop: threading.Event, changed: Callable[[bool, str], bool]
    ) -> None:
        """Probe until `stop`, or until `changed(good, why)`, told whenever a threshold is reached, returns False."""
        good = bad = 0
        wait = self.delay
        while not stop.wait(wait):
            wait = self.period
            why = self.check(address, container)
            good, bad = (0, bad + 1) if why else (good + 1, 0)
            reached = bad >= self.failures if why else good >= self.successes
            if reached and not stop.is_set() and not changed(not why, why):
                return
