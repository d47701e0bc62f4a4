"""The attacks that must fail: what each tries, which tests try it, and which of it cannot be tried yet, since there is nothing to
attack. `test_attacks.py` holds this list against the tests and against the contracts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from kehu.rules.v1 import rules_pb2

from chassis.validation.rules import rules_of
from gateway.contracts import Contracts


@dataclass(frozen=True)
class Feature:
    """Something that is not there yet. It is there as soon as a name of the contracts matches one of `signs` as a whole.

    Names are `service <full name>`, `method <full name>`, `path <template>`, `field <full name>` and `url <full name>` (a
    field that holds an address of the web).
    """

    name: str
    signs: tuple[str, ...]

    def found_in(self, names: Iterable[str]) -> list[str]:
        """The names by which it shows."""
        return [name for name in names if any(re.fullmatch(sign, name) for sign in self.signs)]


@dataclass(frozen=True)
class Attack:
    """One attack. `tests` are `file::function`; `pending` are features whose attacks wait until they are there."""

    number: int
    what: str
    tests: tuple[str, ...] = ()
    pending: tuple[Feature, ...] = ()


PRINT = Feature(
    "printed documents",
    (r"method kehu\..*\.(Print|Render)\w+", r"method kehu\..*\w+Pdf", r"path .*([:/]pdf|:print|:render)"),
)
TEMPLATE = Feature(
    "templates",
    (
        r"service kehu\..*\.\w*TemplateService",
        r"path .*/\w*[tT]emplates(/.*)?",
        r"field kehu\..*\.(\w+_)?template(_id|_ids|_body|_text)?",
        r"field kehu\..*\.merge_fields",
    ),
)
FORMULA = Feature("formulas", (r"field kehu\..*\.(\w+_)?(formula|expression|script)", r"path .*:evaluate"))
FETCHED = Feature(
    "addresses that the suite itself calls",
    (
        # An address that is only shown, or to which a browser is sent, is judged here by name; any other waits for its attack.
        r"url (?!kehu\.(customers\.v1\.(Customer|Competitor)|leads\.v1\.Lead)\.website"
        r"|kehu\.marketing\.v1\.WebForm\.(redirect_url|allowed_origins)).*",
        r"method kehu\..*\.Test\w*(Connection|Webhook|Endpoint|Mailbox)\w*",
        r"path .*:test(Connection|Delivery)?",
    ),
)
WEBHOOK = Feature("webhooks", (r"service kehu\..*\.Webhook\w*Service", r"path .*/webhooks(/.*)?"))
MAIL = Feature(
    "mail that is sent",
    (
        r"service kehu\..*\.(Mail|Mailbox|Email|EmailMessage)Service",
        r"method kehu\..*\.Send(Mail|Email)\w*",
        r"field kehu\..*\.smtp_\w+",
    ),
)
DIRECTORY = Feature(
    "sign-in by a directory", (r"field kehu\..*\.ldap_\w+", r"service kehu\..*\.Directory\w*Service")
)
SINGLE_SIGN_ON = Feature(
    "sign-in elsewhere",
    (r"field kehu\.identity\..*\.(redirect_uri|return_to|oidc_\w+)", r"path .*/oidc(/.*)?"),
)
TRACKING = Feature(
    "tracked links",
    (
        r"service kehu\..*\.(Tracking|TrackedLink|Click)\w*Service",
        r"path .*/(track|clicks|opens|trackedLinks)(/.*)?",
        r"field kehu\..*\.(tracking_(token|url|pixel)|target_url)",
    ),
)
QUARANTINE = Feature(
    "quarantine of what forms bring",
    (r"field kehu\..*\.(quarantine_\w+|quarantined|spam_score)", r"path .*:(release|quarantine)"),
)
INCOMING_MAIL = Feature("mail that comes in", (r"field kehu\..*\.(message_id|html_body|raw_message)",))
FIELD_RIGHTS = Feature(
    "fields hidden from some readers",
    (
        r"service kehu\.identity\..*\.FieldRight\w*Service",
        r"field kehu\.identity\..*\.(field_rights|hidden_fields)",
    ),
)

_MATRIX = "tests/security/test_matrix.py::test_who_may_not_learns_nothing_and_changes_nothing"

ATTACKS: Sequence[Attack] = (
    Attack(
        1,
        "read by another's id, also exports, printed documents and files",
        (
            _MATRIX,
            "tests/security/test_other_tenants.py::test_the_view_of_our_customer",
            "tests/security/test_other_tenants.py::test_the_live_stream_tells_each_company_its_own",
            "tests/security/test_faces.py::test_reach_own_ends_at_ones_own",
            "services/leads/tests/test_exports.py::test_a_right_of_its_own_says_whose_records_go_out",
            "services/customers/tests/test_exports.py::test_what_belongs_to_customers_goes_out_as_well",
            "tests/security/test_attachments.py::test_files_and_notes_of_another_company_are_not_there",
            "services/customers/tests/test_notes.py::test_who_reads_the_record_reads_its_notes_and_nobody_else",
            "services/notifications/tests/test_inbox.py::test_no_right_opens_anothers_inbox",
        ),
        (PRINT,),
    ),
    Attack(
        2,
        "write, delete and bulk by another's id",
        (_MATRIX, "tests/security/test_databases.py::test_nothing_is_written_across"),
    ),
    Attack(
        3,
        "write first, authorise later: refused calls change no row",
        (
            _MATRIX,
            "tests/security/test_matrix.py::test_what_is_written_before_the_refusal_and_what_is_shown_to_all_is_seen",
            "tests/security/test_planted_routes.py::test_a_service_with_a_method_that_has_no_rule_does_not_start",
        ),
    ),
    Attack(
        4,
        "a foreign person, role or team in a body; a role above one's own",
        (
            "tests/security/test_bodies.py::test_another_companys_ids_in_a_body_are_refused",
            "tests/security/test_bodies.py::test_nobody_rises_above_themselves",
            "services/identity/tests/test_identity.py::test_nobody_gives_more_than_they_have",
            "services/sales/tests/test_verbs.py::test_owners_are_active_people_in_reach",
        ),
    ),
    Attack(
        5,
        "moving records below others by linking and unlinking",
        (
            "tests/security/test_bodies.py::test_another_companys_ids_in_a_body_are_refused",
            "tests/security/test_bodies.py::test_a_record_one_may_not_see_takes_no_link",
            "tests/conversion/test_conversion.py::test_a_customer_one_may_only_read_is_not_joined",
            "tests/conversion/test_conversion.py::test_a_contact_of_another_customer_is_not_joined",
            "services/sales/tests/test_orders.py::test_an_opportunity_of_another_customer_is_refused",
        ),
    ),
    Attack(6, "previews of templates and merge fields past the rights on rows", pending=(TEMPLATE,)),
    Attack(
        7,
        "another's import or attachment",
        (
            _MATRIX,
            "chassis/tests/test_import_face.py::test_imports_are_seen_by_their_makers_and_by_those_who_may_change_all",
            "tests/security/test_attachments.py::test_files_and_notes_of_another_company_are_not_there",
            "tests/security/test_attachments.py::test_who_may_only_read_adds_nothing",
        ),
    ),
    Attack(
        8,
        "bulk past the rights on rows",
        (
            "tests/security/test_bodies.py::test_many_at_once_take_in_nothing_that_is_hidden",
            "services/customers/tests/test_customers.py::test_an_import_names_no_customer_that_its_person_cannot_see",
            "services/sales/tests/test_imports.py::test_who_may_import_what_for_whom",
        ),
    ),
    Attack(
        9,
        "every column in every body: unknown is refused; tenant, maker, owner and version stay",
        (
            "tests/security/test_bodies.py::test_fields_that_are_not_the_callers_do_not_move",
            "tests/security/test_bodies.py::test_unknown_fields_are_refused",
            "tests/security/test_bodies.py::test_a_field_that_would_move_is_seen",
            "proto/tests/test_contracts.py::test_owners_move_by_assigning_only",
        ),
    ),
    Attack(
        10,
        "what is hidden, through history, search, events, sorting and filters",
        (
            _MATRIX,
            "tests/security/test_secrets.py::test_history_and_lists_know_no_secret_column",
            "tests/security/test_hostile_lists.py::test_filters_that_are_none",
            "tests/security/test_hostile_lists.py::test_orders_that_are_none",
            "chassis/tests/test_listing.py::test_search_stays_within_rights_and_filters",
            "services/customers/tests/test_search_across.py::test_rights_and_tenants",
            "services/sales/tests/test_search_across.py::test_each_kind_under_its_own_right",
            "gateway/tests/test_stream.py::test_a_person_hears_of_their_records_only",
            "gateway/tests/test_stream.py::test_what_is_for_one_person_is_heard_by_nobody_else",
            "services/leads/tests/test_exports.py::test_a_right_of_its_own_says_whose_records_go_out",
        ),
        (FIELD_RIGHTS,),
    ),
    Attack(
        11,
        "secrets in answers, logs, events, history and rows",
        (
            "tests/security/test_secrets.py::test_secrets_stay_where_they_belong",
            "tests/security/test_secrets.py::test_a_secret_that_leaks_is_seen",
            "tests/lead_capture/test_mails.py::test_a_password_is_nowhere",
            "chassis/tests/test_sealed.py::test_a_secret_opens_nothing_elsewhere_and_no_byte_of_it_may_change",
            "gateway/tests/test_requests.py::test_nothing_internal_leaks",
            "chassis/tests/test_validation.py::test_secrets_are_not_repeated",
        ),
    ),
    Attack(
        12,
        "requests of the suite to its own network, by odd spellings of addresses",
        (
            "chassis/tests/test_egress.py::test_odd_spellings_of_this_machine_reach_nothing",
            "chassis/tests/test_egress.py::test_what_is_not_the_open_internet_is_refused",
            "tests/lead_capture/test_mails.py::test_what_is_wrong_with_a_mailbox_stands_with_it",
        ),
        (FETCHED, WEBHOOK),
    ),
    Attack(
        13,
        "the same by names that change their address, and by redirects",
        (
            "chassis/tests/test_egress.py::test_the_connection_goes_to_the_address_that_was_looked_at",
            "chassis/tests/test_egress.py::test_a_name_with_one_private_address_is_refused",
        ),
        (FETCHED, WEBHOOK),
    ),
    Attack(14, "the same by 'test connection'", pending=(FETCHED, WEBHOOK, MAIL)),
    Attack(15, "code in templates", pending=(TEMPLATE,)),
    Attack(16, "code in formulas", pending=(FORMULA,)),
    Attack(17, "attributes and calls in merge fields", pending=(TEMPLATE, MAIL)),
    Attack(
        18,
        "paths out of a folder",
        (
            "tests/security/test_files.py::test_no_path_leads_out_of_the_pages",
            "tests/security/test_files.py::test_a_file_name_is_a_name_and_no_path",
            "tests/security/test_files.py::test_a_workbook_names_no_file_outside",
            "tests/security/test_attachments.py::test_a_name_leads_nowhere",
            "chassis/tests/test_attachment_kinds.py::test_a_name_is_a_name",
        ),
    ),
    Attack(
        19,
        "formulas in CSV, also behind spaces, separators, control and full-width characters",
        (
            "tests/security/test_files.py::test_no_file_of_ours_holds_a_formula",
            "tests/security/test_files.py::test_a_cell_that_would_be_a_formula_is_seen",
            "chassis/tests/test_import_reading.py::test_no_cell_is_a_formula",
            "services/leads/tests/test_exports.py::test_nothing_in_a_file_is_a_formula",
        ),
    ),
    Attack(
        20,
        "stored scripts in every field that a page shows",
        (
            "tests/security/test_pages.py::test_what_a_page_shows_is_text",
            "tests/security/test_pages.py::test_the_page_makes_no_html_of_what_it_is_told",
            "tests/security/test_pages.py::test_an_unsafe_field_is_seen",
            "services/marketing/tests/test_forms.py::test_the_snippet_is_plain_and_escaped",
            "gateway/tests/test_requests.py::test_a_browser_that_posts_a_form_gets_pages",
        ),
        (TEMPLATE, PRINT),
    ),
    Attack(
        21,
        "scripts in files that are shown, such as SVG",
        (
            "tests/security/test_pages.py::test_no_answer_of_the_api_is_a_page_with_scripts",
            "tests/security/test_attachments.py::test_what_a_browser_would_run_is_saved",
        ),
    ),
    Attack(
        22,
        "stored scripts from strangers: forms, mails, user agents",
        (
            "tests/security/test_pages.py::test_what_strangers_send_is_shown_as_text",
            "tests/security/test_pages.py::test_what_a_page_shows_is_text",
            "services/leads/tests/test_mail_reading.py::test_html_gives_its_text_and_nothing_else",
            "services/leads/tests/test_mail_reading.py::test_whatever_comes_is_read",
        ),
        (INCOMING_MAIL,),
    ),
    Attack(
        23,
        "files of another kind than they say",
        (
            "tests/security/test_files.py::test_a_file_is_what_its_name_says",
            "chassis/tests/test_import_reading.py::test_the_kind_is_told_by_name_and_content",
            "tests/security/test_attachments.py::test_a_kind_that_is_a_lie_is_refused",
            "chassis/tests/test_attachment_kinds.py::test_a_name_that_lies_is_refused",
        ),
    ),
    Attack(
        24,
        "files that are two kinds at once, and answers that a browser guesses the kind of",
        (
            "tests/security/test_files.py::test_a_file_is_what_its_name_says",
            "tests/security/test_pages.py::test_no_answer_of_the_api_is_a_page_with_scripts",
            "tests/security/test_attachments.py::test_a_file_of_two_kinds_is_saved_like_any_other",
        ),
    ),
    Attack(
        25,
        "SQL in filters, orders, searches and parameters of reports, also at second hand",
        (
            "tests/security/test_injection.py::test_sql_in_any_parameter_is_a_value",
            "tests/security/test_injection.py::test_sql_that_was_stored_is_a_value",
            "tests/security/test_hostile_lists.py::test_filters_that_are_none",
            "tests/security/test_hostile_lists.py::test_orders_that_are_none",
            "chassis/tests/test_listing.py::test_values_are_parameters_and_the_text_is_made_once",
            "tests/security/test_injection.py::test_the_linter_refuses_code_made_from_texts",
        ),
    ),
    Attack(
        26,
        "line ends in headers, mail and directory queries",
        (
            "tests/security/test_injection.py::test_line_ends_reach_no_header_of_an_answer",
            "tests/security/test_injection.py::test_line_ends_reach_no_header_of_an_event",
            "tests/lead_capture/test_mails.py::test_who_may_not",
            "services/leads/tests/test_mail_reading.py::test_line_ends_in_headers_make_no_more_headers",
        ),
        (MAIL, DIRECTORY),
    ),
    Attack(
        27,
        "a disabled person's session goes on",
        (
            "tests/security/test_ends_of_sessions.py::test_a_disabled_person_is_out_everywhere_within_five_seconds",
            "tests/security/test_faces.py::test_without_a_valid_token",
            "gateway/tests/test_stream.py::test_a_stream_ends_with_its_session",
            "services/identity/tests/test_identity.py::test_people_are_created_once_found_changed_and_shut_out",
        ),
    ),
    Attack(
        28,
        "set-up and demonstration left open",
        (
            "tests/security/test_left_open.py::test_nobody_is_let_in_by_default",
            "tests/security/test_left_open.py::test_setting_up_is_no_method_for_strangers",
            "tests/security/test_left_open.py::test_setting_up_again_gives_nothing_away",
            "services/identity/tests/test_identity.py::test_one_time_password_allows_nothing_but_a_new_one",
        ),
    ),
    Attack(
        29,
        "code in what is unpacked: pickle, marshal, yaml.load",
        ("tests/security/test_injection.py::test_the_linter_refuses_code_made_from_texts",),
    ),
    Attack(
        30,
        "sending browsers elsewhere at sign-in and by tracked links",
        (
            "tests/security/test_left_open.py::test_signing_in_sends_nobody_elsewhere",
            "tests/security/test_left_open.py::test_a_form_sends_browsers_where_its_owner_says_and_nowhere_else",
        ),
        (TRACKING, SINGLE_SIGN_ON),
    ),
    Attack(
        31,
        "spam by web forms",
        (
            "services/marketing/tests/test_forms.py::test_robots_floods_foreign_sites_and_closed_forms",
            "services/marketing/tests/test_forms.py::test_the_same_submission_makes_one_lead",
            "gateway/tests/test_limits.py::test_sign_ins_of_one_address_are_limited",
            "tests/security/test_left_open.py::test_a_flood_of_a_form_is_turned_away",
        ),
        (QUARANTINE,),
    ),
    Attack(
        32,
        "multipart, Range and Host",
        (
            "tests/security/test_edges.py::test_ranges_cost_nothing",
            "tests/security/test_edges.py::test_multipart_that_would_take_long",
            "tests/security/test_edges.py::test_hosts_that_would_be_believed",
            "gateway/tests/test_requests.py::test_multipart_that_is_none",
            "gateway/tests/test_requests.py::test_hosts_that_are_not_ours",
        ),
    ),
    Attack(
        33,
        "workbooks and XML that unpack without end",
        (
            "tests/security/test_files.py::test_bombs_are_refused_and_the_service_lives",
            "chassis/tests/test_import_reading.py::test_a_bomb_is_refused",
            "chassis/tests/test_import_reading.py::test_entities_are_not_expanded",
            "tests/security/test_attachments.py::test_a_bomb_is_kept_and_not_opened",
            "tests/security/test_attachments.py::test_a_file_that_is_too_large_is_not_kept",
        ),
    ),
    Attack(
        34,
        "raw SQL as the role of a service",
        (
            "tests/security/test_databases.py::test_without_a_tenant_and_with_another_nothing_is_seen",
            "tests/security/test_databases.py::test_nothing_is_written_across",
            "tests/security/test_databases.py::test_a_role_cannot_free_itself",
            "tests/security/test_databases.py::test_a_relay_sees_what_it_passes_on_and_no_more",
            "tests/security/test_databases.py::test_a_service_cannot_enter_the_database_of_another",
        ),
    ),
    Attack(
        35,
        "one service's user of the broker publishing, reading or altering what is another's",
        (
            "tests/security/test_broker.py::test_each_user_publishes_and_hears_what_is_theirs",
            "tests/security/test_broker.py::test_nobody_touches_anothers_consumer_or_stream",
            "tests/security/test_broker.py::test_a_user_that_may_too_much_is_seen",
            "deploy/local/tests/test_nats.py::test_a_service_hears_its_own_answers_only",
        ),
    ),
    Attack(
        36,
        "calls of services without a token, or with one that is altered, out of date or another's",
        (
            "tests/security/test_faces.py::test_without_a_valid_token",
            "tests/security/test_faces.py::test_with_another_tenants_token",
            "tests/security/test_faces.py::test_with_too_little_right",
            "tests/security/test_faces.py::test_a_service_may_only_what_its_name_stands_for",
            "tests/security/test_faces.py::test_a_token_ends",
        ),
    ),
    Attack(37, "webhooks forged and sent again", pending=(WEBHOOK,)),
    Attack(
        38,
        "fifty at once: one effect",
        (
            "tests/security/test_races.py::test_fifty_conversions_make_one_customer",
            "tests/security/test_races.py::test_fifty_placements_place_once",
            "tests/security/test_races.py::test_fifty_repeats_make_one",
            "tests/security/test_races.py::test_fifty_uses_of_a_one_time_password_choose_one",
            "tests/security/test_races.py::test_fifty_uses_of_a_refresh_token_leave_one_that_works",
        ),
    ),
)  # fmt: skip


def names_in(contracts: Contracts) -> list[str]:
    """Everything of the contracts that can be called or filled in, as `Feature.signs` are written."""
    found: list[str] = []
    messages: dict[str, Any] = {}
    for method in contracts.methods:
        found.append(f"method {method.full_name}")
        found += [f"path {_path(rule)}" for rule in method.rules]
        _gather(method.request.DESCRIPTOR, messages)
        _gather(method.answer.DESCRIPTOR, messages)
    found += sorted({f"service {method.service}" for method in contracts.methods})
    for message in messages.values():
        for field in message.fields:
            found.append(f"field {field.full_name}")
            if rules_of(field).format in (rules_pb2.FORMAT_URL, rules_pb2.FORMAT_ORIGIN):
                found.append(f"url {field.full_name}")
    return found


def _path(rule: Any) -> str:
    return str(getattr(rule, str(rule.WhichOneof("pattern"))))


def _gather(message: Any, into: dict[str, Any]) -> None:
    if message.full_name in into or not message.full_name.startswith("kehu."):
        return
    into[message.full_name] = message
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
            _gather(field.message_type, into)
