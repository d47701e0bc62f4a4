"""What identity refuses, by reason."""

from chassis.errors import AlreadyExists, Denied, Exhausted, Invalid, Precondition, Unauthenticated


class SignInFailed(Unauthenticated):
    """Unknown tenant, unknown e-mail, wrong password and disabled person look the same from outside."""

    reason = "SIGN_IN_FAILED"

    def __init__(self) -> None:
        super().__init__("E-mail or password is wrong, or the account is disabled.")


class TooManyAttempts(Exhausted):
    reason = "TOO_MANY_ATTEMPTS"

    def __init__(self, seconds: float) -> None:
        super().__init__("Too many failed attempts: wait a while and try again.", retry_after=seconds)


class SessionEnded(Unauthenticated):
    reason = "SESSION_ENDED"

    def __init__(self) -> None:
        super().__init__("The session has ended: sign in again.")


class RefreshTokenReused(Unauthenticated):
    reason = "REFRESH_TOKEN_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "This refresh token was used before; the session is ended for safety: sign in again."
        )


class ApiKeyInvalid(Unauthenticated):
    reason = "API_KEY_INVALID"

    def __init__(self) -> None:
        super().__init__("The API key is unknown, revoked or out of date.")


class PasswordTooWeak(Invalid):
    reason = "PASSWORD_TOO_WEAK"


class PasswordWrong(Invalid):
    reason = "PASSWORD_WRONG"


class RoleAboveOwn(Denied):
    """Nobody gives away more than they have."""

    reason = "ROLE_ABOVE_OWN"

    def __init__(self) -> None:
        super().__init__("That would give more rights than you have yourself.")


class LastAdministrator(Precondition):
    reason = "LAST_ADMINISTRATOR"

    def __init__(self) -> None:
        super().__init__("This is the last person who may administrate: give somebody else that role first.")


class RoleBuiltIn(Precondition):
    reason = "ROLE_BUILT_IN"

    def __init__(self) -> None:
        super().__init__("The Administrator role cannot be changed or deleted.")


class RoleInUse(Precondition):
    reason = "ROLE_IN_USE"

    def __init__(self) -> None:
        super().__init__("People have this role: take it from them first.")


class TeamCircle(Precondition):
    reason = "TEAM_CIRCLE"

    def __init__(self) -> None:
        super().__init__("A team cannot stand below itself.")


class TeamTooDeep(Precondition):
    reason = "TEAM_TOO_DEEP"

    def __init__(self) -> None:
        super().__init__("Teams can stand at most 10 deep.")


class TeamNotEmpty(Precondition):
    reason = "TEAM_NOT_EMPTY"

    def __init__(self) -> None:
        super().__init__("The team has members or teams below it: move them first.")


def email_taken() -> AlreadyExists:
    """Another person of the tenant has the e-mail address."""
    return AlreadyExists(
        "EMAIL_TAKEN", "a person of this tenant has this e-mail address already", field="person.email"
    )


def external_key_taken() -> AlreadyExists:
    """Another record has the external key."""
    return AlreadyExists("EXTERNAL_KEY_TAKEN", "another record has this key already", field="externalKey")


def role_name_taken() -> AlreadyExists:
    """Another role has the name."""
    return AlreadyExists("ROLE_NAME_TAKEN", "another role has this name already", field="role.name")


def slug_taken() -> AlreadyExists:
    """Another tenant has the slug."""
    return AlreadyExists("SLUG_TAKEN", "another tenant has this short name already", field="tenant.slug")


def team_name_taken() -> AlreadyExists:
    """A sibling has the name."""
    return AlreadyExists("TEAM_NAME_TAKEN", "another team beside it has this name already", field="team.name")
