"""Secrets of others, sealed: opened by the service's keys, for what they belong to, and by nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from chassis.sealed import NoSecretKey, seal, unseal
from chassis.settings import Settings


def keyed(keys: str) -> Settings:
    return Settings(secret_keys=SecretStr(keys))


@given(st.text(min_size=1, max_size=200), st.text(max_size=60))
def test_what_is_sealed_is_opened(secret: str, what: str) -> None:
    settings = keyed("one, two")
    sealed = seal(settings, secret, what)
    assert unseal(settings, sealed, what) == secret
    assert secret.encode() not in sealed or len(secret) < 4
    assert seal(settings, secret, what) != sealed


def test_a_new_key_in_front_opens_what_the_old_one_sealed() -> None:
    sealed = seal(keyed("old"), "s3cret", "a")
    assert unseal(keyed("new,old"), sealed, "a") == "s3cret"
    for wrong in ("new", ""):
        with pytest.raises(NoSecretKey):
            unseal(keyed(wrong), sealed, "a")


def test_without_a_key_nothing_is_kept() -> None:
    with pytest.raises(NoSecretKey):
        seal(keyed(" , "), "s3cret", "a")


def test_a_secret_opens_nothing_elsewhere_and_no_byte_of_it_may_change() -> None:
    settings = keyed("one")
    sealed = seal(settings, "s3cret", "mail capture 1")
    with pytest.raises(NoSecretKey):
        unseal(settings, sealed, "mail capture 2")
    for place in range(len(sealed)):
        changed = bytes([*sealed[:place], sealed[place] ^ 1, *sealed[place + 1 :]])
        with pytest.raises(NoSecretKey):
            unseal(settings, changed, "mail capture 1")
    for cut in range(len(sealed)):
        with pytest.raises(NoSecretKey):
            unseal(settings, sealed[:cut], "mail capture 1")
