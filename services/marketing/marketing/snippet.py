"""The HTML of a web form: plain, without script and style of its own, every text in it escaped."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from marketing.form import HONEYPOT, FormField

_TYPES = {"TEXT": "text", "EMAIL": "email", "PHONE": "tel"}
_AUTOCOMPLETE = {
    "NAME": "name", "COMPANY_NAME": "organization", "TITLE": "organization-title", "PHONE": "tel", "EMAIL": "email",
}  # fmt: skip
_LONGEST = {"TEXT": 200, "LONG_TEXT": 2000, "EMAIL": 254, "PHONE": 40}


def action_of(gateway_url: str, public_key: str) -> str:
    """Where the form is sent."""
    return f"{gateway_url.rstrip('/')}/v1/forms/{quote(public_key, safe='')}:submit"


def snippet(action: str, fields: Sequence[FormField], submit_label: str) -> str:
    """The form as HTML to paste into a page of any kind."""
    lines = [f'<form action="{escape(action)}" method="post" accept-charset="utf-8" class="kehu-form">']
    lines += [f"  <p>{_field(one)}</p>" for one in fields]
    # Robots fill in whatever has a name; people neither see this nor reach it by the keyboard, nor hear of it.
    lines.append(
        f'  <p style="position:absolute;left:-10000px" aria-hidden="true"><label>Leave this empty'
        f' <input type="text" name="{HONEYPOT}" value="" tabindex="-1" autocomplete="off"></label></p>'
    )
    lines.append(f'  <p><button type="submit">{escape(submit_label or "Submit")}</button></p>')
    lines.append("</form>")
    return "\n".join(lines) + "\n"


def _field(one: FormField) -> str:
    label = escape(one.label)
    named = f'name="{escape(one.key)}"'
    required = " required" if one.required else ""
    if one.kind == "CHECKBOX":
        return f'<label><input type="checkbox" {named} value="yes"{required}> {label}</label>'
    if one.kind == "CHOICE":
        options = "".join(f"<option>{escape(choice)}</option>" for choice in one.choices)
        shown = (
            f'<select {named}{required}><option value="">{escape(one.placeholder)}</option>{options}</select>'
        )
        return f"<label>{label}<br>{shown}</label>"
    hint = f' placeholder="{escape(one.placeholder)}"' if one.placeholder else ""
    more = f' maxlength="{_LONGEST[one.kind]}"{hint}{required}'
    if one.kind == "LONG_TEXT":
        return f'<label>{label}<br><textarea {named} rows="5"{more}></textarea></label>'
    known = _AUTOCOMPLETE.get(one.lead_field)
    filled = f' autocomplete="{known}"' if known else ""
    return f'<label>{label}<br><input type="{_TYPES[one.kind]}" {named}{filled}{more}></label>'
