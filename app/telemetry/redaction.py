"""Takes secrets out of text that is written or shown: logs, problems, errors of jobs.

What is a secret is known by its form (API keys, tokens of well-known services, signed URLs, private
keys), by its name (`password=`, `"token": `, `X-Amz-Signature=`), and by its value where this
process was given it in a variable. Every pattern takes time linear in the text: what may fail is
bounded in length, and what is not bounded stands last.
"""

import os
import re
from functools import cache

MASK = "***"
LONGEST = 8192  # characters of one text that are looked at and kept
_CUT = " [cut]"
_WORD = 512  # characters without a space that are dropped where a text is cut

# `Bearer` and its like may be followed by a space as URLs write it.
_SPACE = r"(?:\s|\+|%20){1,4}"
# Between a name and its value: quotes (escaped ones too), `=`, `:`, or a comma in a tuple.
_BETWEEN = r"""[\\"'\]]{0,6}\s{0,4}(?:=>?|:|%(?:25){0,2}3[Dd]|,(?=\s{0,2}b?["']))\s{0,4}"""
_NAME = (
    # A number of tokens, or per token, is no secret.
    rf"token(?!{_BETWEEN}[\d.]{{1,12}}(?:[\s,;)\]]|$))|"
    r"pass(?:word|wd|phrase)|pwd|secret|signature|credentials?|authorization|"
    r"(?:api|access|secret|private|signing|encryption|account)[_-]?key(?:[_-]?id)?|"
    r"\bsig"
)
_SCHEME = r"(?>(?:(?:bearer|basic|token|negotiate)\s{1,4})?)"
# Up to the quote that ends it, over quotes that are escaped once more than it; without one, up to
# a space, or what separates values.
_VALUE = (
    r"""(?(quote)(?:(?P=escape)\\{1,4}["']|(?!(?P=escape)(?P=quote)).)+"""
    r"""|(?!<)(?:[^\s"'&,;]|[,;](?!\s))+)"""
)

_BY_NAME = re.compile(
    rf"(?P<name>(?:{_NAME}){_BETWEEN}(?:b?(?P<escape>\\{{0,3}})(?P<quote>[\"']))?{_SCHEME}){_VALUE}",
    re.IGNORECASE,
)
# With which a browser comes back from signing in; other codes are no secret.
_CODE = re.compile(r"(?P<name>[?&]code=)[^\s&\"'<>]+")
_ELEMENT = re.compile(rf"(?P<name><[\w:.-]{{0,64}}?(?:{_NAME})>)[^<]+", re.IGNORECASE)
_OPTION = re.compile(
    rf"(?P<name>(?:(?<![\w-])--?(?:\w[\w-]{{0,24}})?(?:{_NAME})|requirepass|masterauth)\s{{1,4}}|"
    r"(?<![\w-])(?:-u|--(?:proxy-)?user)\s{1,4}(?=[^\s:\"']{0,128}:))[^\s\"']+",
    re.IGNORECASE,
)
# To the end of the line: cookies, and what answers to a challenge.
_LINE = re.compile(
    r"(?P<name>\bcookie(?:[\"']?\s{0,4}[:=,]|\s)\s{0,4}(?=.{0,256}=)"
    r"|\bdigest\s{1,4}(?=\w{1,32}=))[^\r\n]+",
    re.IGNORECASE,
)
_USERINFO = re.compile(
    r"(?<=://)(?:"
    # A password may hold `@` and slashes where whoever set it did not quote them; a port does not.
    r"[^\s/@:\"'<>]{0,128}:(?!\d{1,5}(?:[/?#\s]|$))[^\s\"'<>]{1,512}@"
    r"|[^\s/\"'<>]{0,512}@"
    r")"
)
_QUOTED_USERINFO = re.compile(r"(?<=%2F%2F)(?:(?!%2F|%40)[^\s&\"'<>]){1,512}%40", re.IGNORECASE)
_BY_FORM = re.compile(
    rf"(?:bearer|negotiate){_SPACE}[\w.~+/=%-]{{6,}}|basic{_SPACE}[\w.~+/=%-]{{12,}}"
    r"|(?<![a-z0-9])(?:"
    r"(?:sct|whsec)_[\w+/=%-]{4,}"
    r"|hf_[a-z0-9]{10,}|api_org_[a-z0-9]{10,}"
    r"|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}"
    r"|sk-[\w-]{20,}|[prs]k_(?:live|test)_\w{10,}|npm_\w{20,}|pypi-[\w-]{20,}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{10,}|(?-i:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"
    r"|eyJ[\w-]{8,}\.[\w.-]+"
    r")"
    r"|-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?s:(?!-----END).)*",
    re.IGNORECASE,
)
# A variable of this name holds what must not be seen, if it is long enough to be one.
_VARIABLE = re.compile(r"(?:TOKEN|SECRET|PASSWORD|PASSPHRASE|_KEY)\b|^PGPASSWORD$", re.IGNORECASE)
_SHORTEST = 12
_URL_PASSWORD = re.compile(r"://[^\s/@:]{0,128}:([^\s@]{1,512})@")


def scrub(text: str, longest: int = LONGEST) -> str:
    """The text without secrets, cut to about `longest` characters."""
    if len(text) > longest:
        # What is cut off may be the half of a secret by which it is known: drop the rest of it.
        text = text[:longest]
        text = text.removesuffix((text[-_WORD:].rsplit(maxsplit=1) or [""])[-1])
        return _scrubbed(text) + _CUT
    return _scrubbed(text)


def _scrubbed(text: str) -> str:
    for value in given():
        text = text.replace(value, MASK)
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _QUOTED_USERINFO.sub(f"{MASK}%40", text)
    text = _BY_FORM.sub(MASK, text)
    for named in (_LINE, _BY_NAME, _CODE, _ELEMENT, _OPTION):
        text = named.sub(rf"\g<name>{MASK}", text)
    return text


def is_secret(name: str) -> bool:
    """Whether a value of this name is not to be shown."""
    return re.search(rf"(?:{_NAME}|cookie)$", name[-64:], re.IGNORECASE) is not None


@cache
def given() -> tuple[str, ...]:
    """The secrets among this process's variables, the longest first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _VARIABLE.search(name):
            found.add(value)
        found.update(_URL_PASSWORD.findall(value))
    return tuple(sorted((v for v in found if len(v) >= _SHORTEST), key=len, reverse=True))
