"""Short-lived credentials: without a key they cannot be made, changed or read."""

import base64
import hmac
import json
import re
import string

import msgspec
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from relay.access.claims import Claims, issue, verify
from relay.core.errors import InvalidApiKey

OLD, NEW, FOREIGN = (SecretStr(letter * 32) for letter in "ONF")
NOW = 1_800_000_000.0
CLAIMS = Claims(
    credential_id="0123456789abcdef",
    client="kiosk",
    persona="receptionist",
    variables={"name": "Ada PLANTED"},
    user="ab" * 32,
    issued_at=int(NOW),
    expires_at=int(NOW) + 600,
)
MINTED = issue(CLAIMS, [NEW])


def is_refused(credential: str) -> bool:
    try:
        verify(credential, [NEW], NOW)
    except InvalidApiKey:
        return True
    return False


def test_an_issued_credential_is_read_back() -> None:
    assert verify(MINTED, [NEW], NOW) == CLAIMS


def test_a_credential_can_be_sent_as_a_subprotocol() -> None:
    """RFC 9110 5.6.2: it is a token, so it cannot contain the "=" of base64."""
    assert re.fullmatch(r"ek_[A-Za-z0-9_-]+", MINTED)


def test_a_holder_of_a_credential_cannot_read_it() -> None:
    """Browsers receive it, and the variables are part of the prompt."""
    opened = base64.urlsafe_b64decode(MINTED.removeprefix("ek_") + "==")

    for word in (b"PLANTED", b"kiosk", b"receptionist", b"abab"):
        assert word not in opened


def test_two_credentials_with_the_same_claims_differ() -> None:
    assert issue(CLAIMS, [NEW]) != MINTED


def test_the_first_key_seals_and_all_keys_open() -> None:
    sealed_with_old = issue(CLAIMS, [OLD])

    assert verify(sealed_with_old, [NEW, OLD], NOW) == CLAIMS
    assert verify(issue(CLAIMS, [NEW, OLD]), [NEW], NOW) == CLAIMS
    with pytest.raises(InvalidApiKey):
        verify(sealed_with_old, [NEW], NOW)
    with pytest.raises(InvalidApiKey):
        verify(issue(CLAIMS, [NEW, OLD]), [OLD], NOW)


@pytest.mark.parametrize("late_seconds", [0, 0.5, 3600])
def test_an_expired_credential_is_refused_with_the_reason(late_seconds: float) -> None:
    with pytest.raises(InvalidApiKey, match="expired"):
        verify(MINTED, [NEW], CLAIMS.expires_at + late_seconds)


def test_a_credential_is_valid_until_it_expires_and_on_slow_clocks() -> None:
    assert verify(MINTED, [NEW], CLAIMS.expires_at - 0.001) == CLAIMS
    assert verify(MINTED, [NEW], NOW - 30) == CLAIMS


@given(st.integers(0, len(MINTED) - 1), st.characters())
def test_changing_any_character_to_any_other_is_refused(at: int, char: str) -> None:
    assert char == MINTED[at] or is_refused(MINTED[:at] + char + MINTED[at + 1 :])


def test_only_one_form_of_a_credential_is_valid() -> None:
    """The last character of base64 has bits that a lenient decoder ignores, and "=" after it."""
    alphabet = set(string.ascii_letters + string.digits + "-_+/= \n.") - {MINTED[-1]}

    assert all(is_refused(MINTED[:-1] + char) for char in alphabet)
    assert all(is_refused(MINTED + char) for char in alphabet | {MINTED[-1], "=="})


BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def decoded(credential: str) -> bytes:
    """Return the bytes of a credential, as a lenient decoder reads them."""
    return base64.urlsafe_b64decode(credential.removeprefix("ek_") + "==")


@pytest.mark.parametrize(("id_chars", "unused_bits"), [(0, 2), (22, 4)])
def test_the_unused_bits_of_the_last_character_are_zero(id_chars: int, unused_bits: int) -> None:
    """The length of the id decides the length of the credential, and so the unused bits."""
    minted = issue(msgspec.structs.replace(CLAIMS, credential_id="x" * id_chars), [NEW])
    last = BASE64.index(minted[-1])
    spellings = [minted[:-1] + BASE64[last | bits] for bits in range(1, 2**unused_bits)]

    assert {decoded(spelling) for spelling in spellings} == {decoded(minted)}
    assert not is_refused(minted)
    assert all(map(is_refused, spellings))


@pytest.mark.parametrize(("char", "other"), [("-", "+"), ("_", "/")])
def test_the_other_alphabet_of_base64_is_refused(char: str, other: str) -> None:
    minted = next(m for m in iter(lambda: issue(CLAIMS, [NEW]), None) if char in m[3:])
    spelling = f"ek_{minted[3:].replace(char, other)}"

    assert decoded(spelling) == decoded(minted)
    assert not is_refused(minted)
    assert is_refused(spelling)


@given(st.integers(0, len(MINTED) - 1), st.text(max_size=8))
def test_cutting_and_inserting_is_refused(at: int, text: str) -> None:
    assert is_refused(MINTED[:at])
    assert not text or is_refused(MINTED[:at] + text + MINTED[at:])


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_anything_else_is_refused(text: str) -> None:
    assert is_refused("ek_" + text)
    assert is_refused(text)


def test_without_its_prefix_it_is_no_credential() -> None:
    assert is_refused(MINTED.removeprefix("ek_"))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256"])
def test_a_json_web_token_is_refused_whatever_its_algorithm(algorithm: str) -> None:
    """Attackers usually bypass such checks with tokens that name their own algorithm."""
    parts = [json.dumps({"alg": algorithm, "typ": "JWT"}).encode(), msgspec.json.encode(CLAIMS)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(NEW.get_secret_value().encode(), signed, "sha256")
    token = signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")

    assert is_refused("ek_" + token.decode())
    assert is_refused("ek_" + signed.decode() + ".")


def test_a_token_of_the_same_key_for_another_purpose_is_refused() -> None:
    key = Fernet(base64.urlsafe_b64encode(NEW.get_secret_value().encode()))
    token = key.encrypt(msgspec.json.encode(CLAIMS)).decode().rstrip("=")

    assert is_refused(f"ek_{token}")


def test_a_refusal_repeats_no_part_of_the_credential() -> None:
    with pytest.raises(InvalidApiKey) as refusal:
        verify(MINTED + "x", [NEW], NOW)

    assert MINTED[3:] not in str(refusal.value)
    assert refusal.value.__cause__ is None
