"""What notifications say, in English and Chinese. They are kept as a wording with what it speaks of, and put into words when they
are read: whoever changes the language reads old ones in it, too."""

from dataclasses import dataclass

ENGLISH, CHINESE = "en", "zh"

_RECORDS = {
    "lead": ("lead", "线索"), "customer": ("customer", "客户"), "opportunity": ("opportunity", "商机"),
    "activity": ("activity", "活动"), "ticket": ("ticket", "工单"), "contact": ("contact", "联系人"), "order": ("order", "订单"),
    "product": ("product", "产品"), "campaign": ("campaign", "营销活动"),
}  # fmt: skip
_SOME = ("record", "记录")
_MANY = {"opportunity": "opportunities", "activity": "activities"}

_SAID: dict[str, tuple[str, str]] = {
    "assigned": ("{actor} gave you the {record} {name}", "{actor}将{record}“{name}”分配给了你"),
    "assigned by itself": ("The {record} {name} was given to you", "{record}“{name}”已分配给你"),
    "assigned many": ("{actor} gave you {count} more {records}", "{actor}还将另外 {count} 条{record}分配给了你"),
    "assigned many by themselves": ("{count} more {records} were given to you", "另有 {count} 条{record}已分配给你"),
    "mentioned": ("{actor} mentioned you in a note", "{actor}在备注中提到了你"),
    "mentioned by itself": ("You were mentioned in a note", "有备注提到了你"),
    "due": ("Due today: {name}", "今日到期：{name}"),
    "overdue": ("Overdue: {name}", "已逾期：{name}"),
    "contact due": ("It is time to get in touch with the {record} {name}", "该联系{record}“{name}”了"),
    "came again": ("The {record} {name} has got in touch again", "{record}“{name}”再次联系了我们"),
    "came again closed": ("The closed {record} {name} has got in touch again", "已关闭的{record}“{name}”再次联系了我们"),
    "came again converted": (
        "The {record} {name}, a customer by now, has got in touch again", "已转为客户的{record}“{name}”再次联系了我们"
    ),
    "came again many": ("{count} more {records} have got in touch again", "另有 {count} 条{record}再次联系了我们"),
    "returning": ("The {record} {name} will go back to the pool", "{record}“{name}”即将退回公海"),
    "shared": ("{actor} shared the {record} {name} with you", "{actor}与你共享了{record}“{name}”"),
    "shared by itself": ("The {record} {name} was shared with you", "{record}“{name}”已共享给你"),
    "returned many": ("{count} more {records} have gone back to the pool", "另有 {count} 条{record}已退回公海"),
    "returned": ("The {record} {name} has gone back to the pool", "{record}“{name}”已退回公海"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """What a wording speaks of."""

    record_type: str
    name: str = ""
    actor: str = ""
    count: int = 1


def worded(wording: str, of: Subject, language: str) -> str:
    """The sentence, plain text. Raises KeyError for a wording there is not."""
    chinese = language == CHINESE
    record = _RECORDS.get(of.record_type, _SOME)[chinese]
    return _SAID[wording][chinese].format(
        actor=of.actor, name=of.name, record=record, records=_MANY.get(record, f"{record}s"), count=of.count
    )


def language_of(code: str) -> str:
    """The language in which somebody with that tag (BCP 47) is told things: Chinese, or else English."""
    return CHINESE if code.lower().partition("-")[0] == "zh" else ENGLISH
