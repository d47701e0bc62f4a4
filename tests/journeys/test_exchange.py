"""A list from elsewhere becomes leads, is corrected, goes out as a file, and is undone: through the gateway, as a person does."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import xlsxwriter

_SPELLED = (
    "138 7777 {0:04}",
    "+86 138-7777-{0:04}",
    "（138）7777{0:04}",
    "１３８７７７７{0:04}",
    "0086 1387777{0:04}",
)
_SOURCES = ("展会", "网站", "老板推荐", "朋友介绍", "")


def _messy(count: int) -> bytes:
    """A workbook as people keep them: widths and spellings mixed, every fifteenth row twice, some without a name."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet("名单")
        sheet.write_row(0, 0, ["联系人", "单位", "手机号", "电子邮件", "线索来源", "备注"])
        for n in range(count):
            like = n - 1 if n % 15 == 14 else n
            name = "" if n % 50 == 20 else f"客户{like}" if n % 3 else f"Ｃｕｓｔｏｍｅｒ　{like}"
            company = "" if n % 50 == 20 else f"  北京第{like}公司 "
            phone = _SPELLED[n % 5].format(2000 + like)  # nobody of other journeys
            sheet.write_row(
                n + 1,
                0,
                [
                    name,
                    company,
                    phone,
                    f"U{like}@Example.com",
                    _SOURCES[like % 5],
                    "=1+1" if n % 100 == 1 else "",
                ],
            )
    return out.getvalue()


def _heard(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            if event["subject"].endswith(".import.progressed"):
                yield event["data"]


def _table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_a_list_comes_in_is_worked_on_goes_out_and_is_taken_back(
    boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    rows = 1_200
    file = {"file": ("名单.xlsx", _messy(rows), "application/octet-stream")}
    made = boss.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=file)
    path = f"/v1/leads/imports/{made['id']}"
    assert len(made["proposedMapping"]) == 6 and made["totalRows"] == rows
    assert {word["text"] for word in made["unknownValues"]} == {"老板推荐", "朋友介绍"}
    words = [{"field": "source", "text": text, "value": "REFERRAL"} for text in ("老板推荐", "朋友介绍")]
    seen = boss.post(f"{path}:preview", {"values": words})
    assert not seen.get("unknownValues") and len(seen["preview"]) == 20

    # Of the import alone: of the records that it makes there are more than a slow page could take.
    only = {"subject": "leads.import.progressed"}
    with boss.http.stream(
        "GET", "/v1/events:stream", params=only, headers=boss.headers, timeout=60
    ) as stream:
        lines = stream.iter_lines()
        next(lines)  # the stream is open
        boss.post(f"{path}:start", {"values": words, "duplicates": "DUPLICATE_POLICY_SKIP"})
        steps: list[dict[str, Any]] = []
        for told in _heard(lines):
            assert told["importId"] == made["id"]
            steps.append(told["progress"])
            if told["progress"]["state"] != "IMPORT_STATE_RUNNING":
                break
    assert [step["processedRows"] for step in steps] == [500, 1000, 1200]
    done = boss.get(path)
    assert done["state"] == "IMPORT_STATE_SUCCEEDED"
    assert done["skippedRows"] == len([n for n in range(rows) if n % 15 == 14 and n % 50 != 20])
    assert done["refusedRows"] == len([n for n in range(rows) if n % 50 == 20])

    # The same people, as the list shows them, as a file for people and as one that an import takes back.
    own = f'createTime >= "{done["startTime"]}"'
    asked = {"recordType": "lead", "format": "EXPORT_FORMAT_CSV", "filter": own, "languageCode": "zh-CN"}
    answer = boss.http.post("/v1/leads/exports", json=asked, headers=boss.headers)
    assert answer.status_code == 200 and "%E7%BA%BF%E7%B4%A2" in answer.headers["content-disposition"]
    found = _table(answer.content)
    assert len(found) == done["createdRows"]
    assert {row["来源"] for row in found} == {"展会", "网站", "转介绍", "其他"}
    assert not any(value.startswith(("=", "+1", "@")) for row in found for value in row.values())
    assert all(row["电话"].startswith("+86138") for row in found)
    whole = {**asked, "headers": "EXPORT_HEADERS_FIELDS", "format": "EXPORT_FORMAT_XLSX"}
    again = boss.http.post("/v1/leads/exports", json=whole, headers=boss.headers)
    file = {"file": ("again.xlsx", again.content, "application/octet-stream")}
    second = boss.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=file)
    assert second["totalRows"] == done["createdRows"] and len(second["proposedMapping"]) == len(
        second["columns"]
    )

    # A member may read and not export; what was exported stands in the log.
    member = colleague("Member")
    refused = member.http.post("/v1/leads/exports", json=asked, headers=member.headers)
    assert refused.status_code == 403 and refused.json()["reason"] == "RIGHT_MISSING"
    entry = boss.get("/v1/leads/exports")["exports"][1]
    assert (entry["state"], entry["rowCount"]) == ("EXPORT_STATE_SUCCEEDED", done["createdRows"])
    assert entry["filter"] == own

    # One is worked on; then it turns out that the list was the wrong one.
    kept = boss.get("/v1/leads", params={"filter": own, "pageSize": 1})["leads"][0]
    boss.post(f"/v1/leads/{kept['id']}:contact", {"note": "有兴趣"})
    boss.post(f"{path}:undo")
    gone = eventually(lambda: (i := boss.get(path))["state"] == "IMPORT_STATE_UNDONE" and i, 60)
    assert (gone["undoneRecords"], gone["keptRecords"]) == (done["createdRows"] - 1, 1)
    report = boss.http.get(f"{path}/keptRecords", headers=boss.headers)
    assert [(row["Record"], row["Reason"]) for row in _table(report.content)] == [
        (kept["id"], "CHANGED_SINCE")
    ]
    left = boss.get("/v1/leads", params={"filter": own})["leads"]
    assert [lead["id"] for lead in left] == [kept["id"]]
