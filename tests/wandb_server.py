"""A W&B server of a test's own, on loopback: as much of GraphQL, file_stream and uploads as wandb's client asks."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote

ENTITY = "me"


@dataclass
class WandbRun:
    """One run as the server has it. lines: what arrived in each file by line number, so that a resent line is one."""

    name: str
    project: str
    told: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    sessions: int = 0
    """How often a client has opened it."""
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Its rows in their order, as logged: without what the client adds (`_step` and others)."""
        return [{k: v for k, v in row.items() if k[0] != "_"} for row in self._rows()]

    @property
    def summary(self) -> dict[str, Any]:
        """Its summary, less what the client adds."""
        found = self.lines.get("wandb-summary.json", {})
        whole = json.loads(found[max(found)]) if found else json.loads(self.told.get("summaryMetrics") or "{}")
        return {key: value for key, value in whole.items() if key[0] != "_"}

    @property
    def config(self) -> dict[str, Any]:
        return {k: v["value"] for k, v in json.loads(self.told.get("config") or "{}").items() if k != "_wandb"}

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was defined of its metrics; keys are the numbers of W&B's MetricRecord (1 name, 5 step metric)."""
        return json.loads(self.told["config"])["_wandb"]["value"]["m"]

    def _rows(self) -> list[dict[str, Any]]:
        found = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(found[number]) for number in sorted(found)]

    def to_resume(self) -> dict[str, Any]:
        rows = self._rows()
        return {
            "id": f"id of {self.name}",
            "name": self.name,
            "summaryMetrics": json.dumps(self.summary | {"_step": rows[-1]["_step"]} if rows else self.summary),
            "displayName": self.told.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(rows),
            "eventsLineCount": len(self.lines.get("wandb-events.jsonl", {})),
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            "config": self.told.get("config") or "{}",
            "tags": self.told.get("tags") or [],
            "notes": self.told.get("notes"),
            "wandbConfig": json.dumps({"t": {"value": 1}}),
        }


class WandbServer:
    """runs: by id. artifacts: {name: {path: content}}. alerts: as told. asked: the names of operations, in order.

    sweep, trials: the configuration of the one sweep that an agent may join, and the parameters still to be tried.
    """

    def __init__(self) -> None:
        self.runs: dict[str, WandbRun] = {}
        self.artifacts: dict[str, dict[str, bytes]] = {}
        self.alerts: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.sweep: dict[str, Any] = {}
        self.trials: list[dict[str, Any]] = []
        self.url = ""
        self._lock, self._numbers = Lock(), count(1)
        self._artifact_names: dict[str, str] = {}
        self._files: dict[str, bytes] = {}

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data that answer an operation, known by its name."""
        name = query.split("(")[0].split("{")[0].split()[-1]
        with self._lock:
            self.asked.append(name)
            answer = getattr(self, f"_{name}", None)
            try:
                return answer(variables) if answer else {}
            except Exception as error:  # told at the end, for a client would ask again and again
                self.errors.append(f"{name}: {error!r}")
                return {}

    def of_type(self, job_type: str) -> list[WandbRun]:
        return [run for run in self.runs.values() if run.told.get("jobType") == job_type]

    def stream(self, run_id: str, sent: dict[str, Any]) -> None:
        """What file_stream posts: lines of files from an offset on, and how the run ended."""
        with self._lock:
            run = self.runs[run_id]
            for name, part in (sent.get("files") or {}).items():
                lines = run.lines.setdefault(name, {})
                lines.update(enumerate(part["content"], part["offset"]))
            if sent.get("complete"):
                run.exit_code = sent.get("exitcode")

    def put(self, path: str, content: bytes) -> None:
        with self._lock:
            *_, owner, name = path.split("/", 3)
            if owner in self._artifact_names:
                self.artifacts[self._artifact_names[owner]][unquote(name)] = content
            else:
                self._files[f"{owner}/{name}"] = content

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": []}
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(asked["name"])
        of_entity = {"id": "1", "name": ENTITY}
        bucket = run.to_resume() if run else None
        return {"model": {"id": "1", "name": asked["project"], "entity": of_entity, "bucket": bucket}}

    def _UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:
        is_new = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], WandbRun(asked["name"], asked["project"]))
        run.sessions += asked.get("displayName") is not None or asked.get("tags") is not None
        run.told |= {key: value for key, value in asked.items() if value is not None}
        project = {"id": "1", "name": asked["project"], "entity": {"id": "1", "name": ENTITY}}
        bucket = {"id": f"id of {run.name}", "name": run.name, "displayName": run.told.get("displayName")}
        bucket |= {"description": None, "config": run.told.get("config") or "{}", "sweepName": run.told.get("sweep")}
        bucket |= {"project": project, "historyLineCount": len(run.lines.get("wandb-history.jsonl", {}))}
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _SweepWithRuns(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"sweep": {"name": asked["sweep"], "config": json.dumps(self.sweep), "runs": {"edges": []}}}}

    def _CreateAgent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def _Heartbeat(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One trial after another, each when none is running any more; then the agent may go."""
        commands: list[dict[str, Any]] = []
        if self.trials and not json.loads(asked["runState"]):
            values = {key: {"value": value} for key, value in self.trials.pop(0).items()}
            run = f"trial{next(self._numbers)}"
            commands = [{"type": "run", "run_id": run, "program": self.sweep["program"], "args": values}]
        elif not self.trials and not json.loads(asked["runState"]):
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}

    def _NotifyScriptableRunAlert(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.alerts.append(asked)
        return {"notifyScriptableRunAlert": {"success": True}}

    def _CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": n, "uploadUrl": f"{self.url}/storage/{asked['run']}/{n}"} for n in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        told = asked.get("input") or asked
        key = f"artifact-{next(self._numbers)}"
        name = (
            told["artifactCollectionNames"][0]
            if told.get("artifactCollectionNames")
            else told["artifactCollectionName"]
        )
        self._artifact_names[key] = name
        self.artifacts.setdefault(name, {})
        made = {"id": key, "state": "PENDING", "artifactSequence": {"id": "1", "latestArtifact": None}}
        return {"createArtifact": {"artifact": made}}

    def _CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "1", "name": "manifest", "displayName": "manifest", "uploadUrl": None, "uploadHeaders": []}
        file["uploadUrl"] = f"{self.url}/storage/manifest/{asked['artifactID']}"
        return {"createArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}

    def _CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        specs = asked["input"]["artifactFiles"]
        edges = [
            {
                "node": {
                    "id": str(next(self._numbers)),
                    "name": one["name"],
                    "displayName": one["name"],
                    "uploadUrl": f"{self.url}/storage/{one['artifactID']}/{one['name']}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "storagePath": f"storage/{one['name']}",
                    "artifact": {"id": one["artifactID"]},
                }
            }
            for one in specs
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "0"}}}


@contextmanager
def serving() -> Iterator[WandbServer]:
    """A server on a free port of this machine for as long as the block runs."""
    state = WandbServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            parts, data = self.path.strip("/").split("/"), {}
            if parts[0] == "graphql":
                asked = json.loads(body)
                data = {"data": state.graphql(asked["query"], asked.get("variables") or {})}
            elif parts[-1] == "file_stream":
                state.stream(parts[-2], json.loads(body))
            elif parts[0] == "storage":
                state.put(self.path, body)
            content = json.dumps(data).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = answer

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that ends leaves its connections open."""

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
