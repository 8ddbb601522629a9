"""The writing half of a Hugging Face hub, as far as its client needs it to push a model.

Files travel by git-lfs: a batch of addresses, a PUT to each, then one commit that names them all.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "hf_secret-of-the-tests"


@dataclass
class HubServer:
    """What was pushed.

    Attributes:
        repos: name -> whether it is private.
        objects: uploaded content by SHA-256.
        commits: (repository, files by path) in order.
        refuse: how many requests more to answer with 503.
    """

    repos: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)
    commits: list = field(default_factory=list)
    refuse: int = 0

    def app(self):
        repo = "{namespace}/{name}"
        routes = [
            ("/api/repos/create", self.create),
            (f"/api/models/{repo}/preupload/{{revision}}", self.preupload),
            (f"/{repo}.git/info/lfs/objects/batch", self.batch),
            (f"/api/models/{repo}/commit/{{revision}}", self.commit),
        ]
        guarded = [Route(path, self._guarded(step), methods=["POST"]) for path, step in routes]
        return Starlette(routes=[*guarded, Route("/lfs/{oid}", self.put, methods=["PUT"])])

    def _guarded(self, step):
        async def answer(request):
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return JSONResponse({"error": "Invalid username or password."}, 401)
            if self.refuse:
                self.refuse -= 1
                return JSONResponse({"error": "down"}, 500)
            return await step(request)

        return answer

    async def create(self, request):
        wanted = await request.json()
        name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
        url = f"{request.base_url}{name}"
        if name in self.repos:
            return JSONResponse({"url": url, "error": "exists"}, 409)
        self.repos[name] = wanted.get("private") or wanted.get("visibility") == "private"
        return JSONResponse({"url": url})

    async def preupload(self, request):
        files = (await request.json())["files"]
        modes = [
            {"path": file["path"], "uploadMode": "lfs", "shouldIgnore": False} for file in files
        ]
        return JSONResponse({"files": modes})

    async def batch(self, request):
        objects = (await request.json())["objects"]
        for each in objects:
            if each["oid"] not in self.objects:
                each["actions"] = {"upload": {"href": f"{request.base_url}lfs/{each['oid']}"}}
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def put(self, request):
        content = await request.body()
        oid = request.path_params["oid"]
        if hashlib.sha256(content).hexdigest() != oid:
            return Response(status_code=422)
        self.objects[oid] = content
        return Response()

    async def commit(self, request):
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        values = [line["value"] for line in lines if line["key"] in {"file", "lfsFile"}]
        files = {
            value["path"]: base64.b64decode(value["content"])
            if "content" in value
            else self.objects[value["oid"]]
            for value in values
        }
        parameters = request.path_params
        repo = f"{parameters['namespace']}/{parameters['name']}"
        self.commits.append((repo, files))
        sha = f"{len(self.commits):040x}"
        url = f"{request.base_url}{repo}/commit/{sha}"
        return JSONResponse({"commitUrl": url, "commitOid": sha, "success": True})
