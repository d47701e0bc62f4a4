"""Checks the manifests: `python deploy/k8s/check.py`. With `--write`, writes the broker's users anew first.

What `kubectl kustomize` makes of the base and of each overlay is held against the published schemas of Kubernetes, and then
against rules of our own: every service of the suite is there with all it needs, no container may do more than it must, settings
are those that the code knows, and the broker's users may do exactly what they may on one machine.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import yaml

from chassis.settings import Settings as ServiceSettings
from gateway.settings import Settings as GatewaySettings
from kehu_local.composition import MEMBERS
from kehu_local.nats import admin, gateway_user, service_user

HERE = Path(__file__).parent
KUBERNETES = "1.37"
USERS = HERE / "overlays" / "production" / "nats" / "users.conf"
Manifest = dict[str, Any]
_KINDS = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}


def users_conf() -> str:
    """The broker's users with what each may do; their passwords come from the environment."""
    users = [admin(""), gateway_user(""), *(service_user(member, "") for member in MEMBERS)]
    lines = [
        "# Who may speak with the broker, and about what. Written by check.py --write from the rules of one machine.",
        "authorization {",
        "  users: [",
    ]
    for user in users:
        lines += [f"    {{ user: {user.name}, password: $NATS_{user.name.upper()}_PASSWORD, permissions: {{"]
        lines += [
            f"      publish: {_subjects(user.publish)}",
            f"      subscribe: {_subjects(user.subscribe)}",
            "    } }",
        ]
    return "\n".join([*lines, "  ]", "}", ""])


def _subjects(subjects: tuple[str, ...]) -> str:
    return json.dumps({"allow": list(subjects)})


def built(folder: Path) -> list[Manifest]:
    """What kustomize makes of a folder. Raises SystemExit with kustomize's words when it cannot."""
    program = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{folder}: {done.stderr.strip()}")
    return [cast("Manifest", one) for one in yaml.safe_load_all(done.stdout)]


def name_of(one: Manifest) -> str:
    """Kind and name."""
    return f"{one['kind']} {one['metadata']['name']}"


def against_schemas(manifests: list[Manifest]) -> Iterator[str]:
    """What the schemas refuse."""
    for one in manifests:
        try:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name_of(one)}: {error.message}"


def whole(manifests: list[Manifest]) -> Iterator[str]:
    """Which part of the suite lacks what, and what is there that is no part of it."""
    folders = [member.module.replace("_", "-") for member in MEMBERS]
    domains = {member.domain for member in MEMBERS}
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    for name in ("gateway", *folders):
        for kind in sorted(_KINDS | (set() if name == "gateway" else {"Job"})):
            if (kind, f"kehu-migrate-{name}" if kind == "Job" else f"kehu-{name}") not in there:
                yield f"{name} has no {kind}"
    parts = {f"kehu-{name}" for name in ("gateway", *folders)} | {f"kehu-migrate-{name}" for name in folders}
    yield from (
        f"{kind} {name} is no part of the suite"
        for kind, name in sorted(there)
        if kind in ("Deployment", "Job") and name not in parts
    )
    addresses = {
        key.removeprefix("KEHU_ADDRESS_").lower(): value
        for one in manifests
        if one["kind"] == "ConfigMap"
        for key, value in one["data"].items()
        if key.startswith("KEHU_ADDRESS_")
    }
    yield from (f"no address of {domain} is told" for domain in sorted(domains - addresses.keys()))
    yield from (
        f"an address of {domain} is told, which does not exist"
        for domain in sorted(addresses.keys() - domains)
    )
    for domain, address in addresses.items():
        host = address.removeprefix("dns:///").partition(":")[0]
        if ("Service", host) not in there:
            yield f"the address of {domain} leads to {host}, which is no Service"


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pods that would be made, by whose they are."""
    for one in manifests:
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield name_of(one), one["spec"]["template"]


def held_short(manifests: list[Manifest]) -> Iterator[str]:
    """Containers that may do more than they must, or take what they like."""
    for name, pod in pods(manifests):
        spec = pod["spec"]
        if not spec.get("securityContext", {}).get("runAsNonRoot"):
            yield f"{name} may run as root"
        if spec.get("automountServiceAccountToken", True):
            yield f"{name} is given a token of the cluster"
        for container in spec["containers"]:
            context = container.get("securityContext", {})
            if not context.get("readOnlyRootFilesystem") or context.get("allowPrivilegeEscalation", True):
                yield f"{name} may write its file system or gain rights"
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name} keeps capabilities"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                yield f"{name} has no limit of memory"


def settings_known(manifests: list[Manifest]) -> Iterator[str]:
    """Variables that no setting reads, and references to settings that are not there."""
    known = {
        f"KEHU_{name.upper()}" for name in (*ServiceSettings.model_fields, *GatewaySettings.model_fields)
    }
    known |= {f"KEHU_ADDRESS_{member.domain.upper()}" for member in MEMBERS}
    maps = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    for name, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            told = {variable["name"] for variable in container.get("env", [])}
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    told |= maps[source["configMapRef"]["name"]].keys()
            yield from (
                f"{name} is told {variable}, which nobody reads"
                for variable in sorted(told - known)
                if variable.startswith("KEHU_")
            )


def owners_kept(manifests: list[Manifest]) -> Iterator[str]:
    """Whoever but a migration knows the role that owns the tables; and services under one Secret."""
    secrets: dict[str, str] = {}
    for name, pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                if secret is None:
                    continue
                owner = secret["name"] == "kehu-owners"
                if owner is not (variable["name"] == "KEHU_OWNER_DATABASE_URL") or (
                    owner and not name.startswith("Job ")
                ):
                    yield f"{name}: {variable['name']} comes from {secret['name']}"
                if not owner and name.startswith("Deployment "):
                    first = secrets.setdefault(secret["name"], name)
                    if first != name or secret["name"] != name.split()[1]:
                        yield f"{name} reads the Secret {secret['name']}"


def reached(manifests: list[Manifest]) -> Iterator[str]:
    """Services that lead to no pod, or to one that does not serve."""
    for one in manifests:
        if one["kind"] != "Service":
            continue
        wanted = one["spec"]["selector"].items()
        hit = {name for name, pod in pods(manifests) if wanted <= pod["metadata"]["labels"].items()}
        if len(hit) != 1 or next(iter(hit)).startswith("Job "):
            yield f"{name_of(one)} leads to {', '.join(sorted(hit)) or 'nothing'}"


def users_kept() -> Iterator[str]:
    """A broker whose users may do something else than on one machine."""
    if not USERS.exists() or USERS.read_text() != users_conf():
        yield f"{USERS.relative_to(HERE)} is not what the suite needs: run {Path(__file__).name} --write"


def main() -> None:
    """Prints what is wrong and ends with 1, or says what was checked."""
    if "--write" in sys.argv[1:]:
        USERS.write_text(users_conf())
    wrong = list(users_kept())
    checked = 0
    for folder in (HERE / "base", *sorted(path for path in (HERE / "overlays").iterdir() if path.is_dir())):
        manifests = built(folder)
        checked += len(manifests)
        for rule in (against_schemas, whole, held_short, settings_known, owners_kept, reached):
            wrong += [f"{folder.name}: {problem}" for problem in rule(manifests)]
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"manifests ok: {checked} against Kubernetes {KUBERNETES}")


if __name__ == "__main__":
    main()
