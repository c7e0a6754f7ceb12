"""Words and phrases of English that two wordings of one question may differ in. Closed lists: what is not here counts.

The gate forgets only what these lists name. A word that is missing costs a hit; a word too many gives a wrong answer,
so nothing is here that changes an answer in some field ("delete" and "remove" do, "cost" and "price" do).
"""

import re

_GREETING = r"hi|hello|hey|okay|ok|well|so|and|just|please|quick question|good (?:morning|afternoon|evening)"
_ASKING = (
    r"(?:can|could|would|will) you (?:please )?(?:tell|show) me|(?:please )?tell me|"
    r"(?:can|could|would) you (?:please )?explain(?: to me)?|(?:please )?explain|do you know|does anyone know|"
    r"i would like to know|i (?:want|need) to know|i was wondering|i wonder|may i ask"
)
_QUESTION = r"what|which|who|whom|whose|when|where|why|how"
_AUXILIARY = r"is|are|am|was|were|do|does|did|can|could|should|must|may|might|will|would|shall|has|have|had"
OPENING = re.compile(rf"^(?:(?:{_GREETING})(?:[,:!.] | (?=(?:{_GREETING}|{_ASKING}|{_QUESTION}|{_AUXILIARY})\b)))+")
INDIRECT = re.compile(rf"^(?:{_ASKING}) (?=(?:{_QUESTION})\b)")
CLOSING = re.compile(r"(?:[,.?!]+ (?:please|thanks|thank you|many thanks))+[ ?!.]*$")
QUESTION = re.compile(rf"^(?:{_QUESTION})\b")
YES_NO = re.compile(rf"^(?:{_AUXILIARY})\b")
FRONTED = re.compile(
    r"^((?:on|in|during|at|under|with|without|after|before|for|if|when|while|once|unless) [^,?]+), "
    rf"((?:{_QUESTION}|{_AUXILIARY}) .+)$"
)
FRONTED_YEAR = re.compile(rf"^(in \d{{4}}) ((?:{_QUESTION}) .+)$")
"""A clause or a time before the question: it may as well stand behind."""

CONTRACTIONS = [
    (re.compile(r"\b(can)'t\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bshan't\b"), "shall not"),
    (re.compile(r"(?<=\w)n't\b"), " not"),
    (re.compile(r"\b(what|where|who|when|why|how|it|that|there|here)'s\b"), r"\1 is"),
    (re.compile(r"\bwhats\b"), "what is"),
    (re.compile(r"(?<=\w)'re\b"), " are"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"(?<=\w)'ll\b"), " will"),
    (re.compile(r"(?<=\w)'ve\b"), " have"),
    (re.compile(r"\bi'd\b"), "i would"),
]

ARTICLES = {"the", "a", "an"}
_LETTERED = """
vitamin hepatitis influenza plan type group class grade category part appendix section option team level schedule form
block factor gate terminal hall building annex serie series protein exhibit figure table
"""
LETTERED = frozenset(_LETTERED.split())
"""An "a" behind one of these is a letter ("hepatitis a")."""
COUNTED = {"few", "little", "lot", "bit", "number", "couple", "great"}
"""An "a" before one of these says how many: "a few" are more than "few"."""
SINGLED = {"most", "least", "more", "less", "few", "only", "one"}
"""A "the" before one of these counts: the most are not most."""
FILLERS = {"actually", "really"}
LATER = {"way", "ways", "steps", "procedure", "process", "reason"}
"""What is asked with these is read as a phrase, articles included."""

_I = r"(?:i|we|one)"
"""Not "you": how you store my data is not how I do."""
_HOW_I = rf"how (?:(?:do|does|can|could|would|should) {_I}|to)"
REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (rf"^((?:{_QUESTION})(?: (?:much|many|long|often))?) (?:exactly|precisely) ", r"\1 "),
        (r"^(what|who) (is|was) it that ", r"\1 "),
        (rf"^what (?:do {_I} (?:have|need) to|must {_I}|can {_I}) do to ", "how to "),
        (r"^what (?:is|are) the (?:way|ways|steps|procedure|process) to ", "how to "),
        (rf"^{_HOW_I} (?:go about )?", "how to "),
        (rf"^is it possible (?:for {_I} )?to ", "can i "),
        (r"^what is the reason (?:that|why) ", "why "),
        (r"^how come ", "why "),
        (r"^(?:at )?what time ", "when "),
        (r"^by (who|whom|what) (was|were) (.+) (\S+ed)$", r"\1 \4 \3"),
        (r"^by (which \S+) (was|were) (.+) (\S+ed)$", r"\1 \4 \3"),
        (r"^(who|what) was (.+) (\S+ed) by$", r"\1 \3 \2"),
        (r"^(.+) was (\S+ed) by (who|whom|what)$", r"\3 \2 \1"),
        (r"^whom (?=\S+ed )", "who "),
        (r"^where (is|are) (.+) (?:located|situated|based)$", r"where \1 \2"),
        (r"^(what|how much) (?:does|do) (.+) cost$", r"what is price of \2"),
        (r"^how old (?:is|are) ", "what is age of "),
        (r"^how tall (?:is|are) ", "what is height of "),
        (r"^how wide (?:is|are) ", "what is width of "),
        (r"^how deep (?:is|are) ", "what is depth of "),
        (r"^how heavy (?:is|are) ", "what is weight of "),
        (r"^how (?:big|large) (?:is|are) ", "what is size of "),
        (r"^how long (?:is|are) (?!it )", "what is length of "),
        (r"^how far is it (?=from )", "what is the distance "),
        (r"^when was (.+) born$", r"what is birth date of \1"),
        (r"^where was (.+) born$", r"what is birthplace of \1"),
        (r"^what is (.+) short for$", r"what does \1 stand for"),
        (r"^who wrote ", "who is author of "),
        (r"^(how to (?:turn|switch)) (.+) (on|off)$", r"\1 \3 \2"),
    ]
]
"""Each once, in this order, on the question in lower case, without articles, fillers and its "?"."""

_ATTRIBUTES = """
address age amount area author average birth birthplace boss budget bandwidth capacity capital ceo chairman
chairwoman children circumference climate code colour color currency date deadline default
definition density depth diameter director distance dose duration duties duty fee format founder frequency
gdp goal head headquarters height husband income interval language latitude length level limit location logo
longitude maximum mayor meaning minimum mother motto name nickname number owner password period phone point
population port president price purpose quota radius rate recipe revenue role salary schema score size source
speed status surface syntax taste temperature term timeout title topic total type url value version volume
wavelength weight width wife
"""
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
"""What one thing has: "the price of the ticket", "the ticket's price" and "the ticket price" are one. Not with nouns of
doing, where "the invasion of Poland" and "Poland's invasion" are two, nor with "a glass of wine" and "a wine glass"."""

_COMPOUNDS = """
address budget bandwidth birthplace capacity capital color colour currency date deadline density depth diameter dose
duration fee frequency goal headquarters height interval length level limit location logo meaning period point
population port price quota radius rate recipe salary schema size speed status temperature timeout url version volume
wavelength weight width
"""
COMPOUNDS = frozenset(_COMPOUNDS.split())
"""Those of which the compound is the same again. "The number of users" and "the user number" are two."""

SYNONYMS = {
    "purchase": "buy",
    "begin": "start",
    "repair": "fix",
    "large": "big",
    "largest": "biggest",
    "quickest": "fastest",
    "automobile": "car",
    "bicycle": "bike",
    "physician": "doctor",
    "kid": "child",
    "kids": "child",
    "display": "show",
    "modify": "change",
    "prohibited": "forbidden",
    "require": "need",
    "max": "maximum",
    "min": "minimum",
    "info": "information",
    "config": "configuration",
    "db": "database",
    "repo": "repository",
    "postgresql": "^postgres",
    "k8s": "^kubernetes",
    "licence": "license",
    "defence": "defense",
    "grey": "gray",
    "aluminium": "aluminum",
    "usa": "^united ^states",
    "frequently": "often",
    "kg": "kilogram",
    "km": "kilometer",
}
"""Word by word, where the meaning is the same in every field."""
CAPITAL_NAMES = {
    "us": "^united ^states",
    "usa": "^united ^states",
    "uk": "^united ^kingdom",
    "un": "^united ^nations",
    "k8s": "^kubernetes",
    "postgresql": "^postgres",
    "db": "database",
}
"""Of words written in capitals."""
PHRASES = [
    (re.compile(r"\b(?:turn|switch) on\b"), "enable"),
    (re.compile(r"\b(?:turn|switch) off\b"), "disable"),
    (re.compile(r"\bdegrees? (?=celsius|fahrenheit)"), ""),
]

_JOINED = """
database email wifi login logout setup backup website online offline keyword workflow username filename hostname
timestamp metadata checkbox dropdown dataset codebase homepage plugin laptop smartphone
"""
JOINED = frozenset(_JOINED.split())
"""Written as one word or as two. Not any two: a green house is no greenhouse."""

MOMENT = re.compile(
    r"\b(?:today|tomorrow|yesterday|tonight|now|ago|so far|right away|at the moment|"
    r"(?:this|last|next) (?:second|minute|hour|morning|afternoon|evening|night|day|week|weekend|month|quarter|year|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday|spring|summer|autumn|fall|winter))\b"
)
"""What such a question asks of depends on the moment it is asked."""

_CARDINALS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
twenty
"""
CARDINALS = {word: str(number) for number, word in enumerate(_CARDINALS.split(), start=2)}
"""Not "one", which is as often a pronoun."""
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
ORDINALS = {word: f"{number}th" for number, word in enumerate(_ORDINALS.split(), start=1)}
_MONTHS = """
january february march april may june july august september october november december
jan feb mar apr jun jul aug sep sept oct nov dec
"""
MONTHS = frozenset(_MONTHS.split())
_PREPOSITIONS = """
of in on at by with without for from to into onto before after during under over between among against about as than per
via since until if when while that which who unless through across within and or but
"""
PREPOSITIONS = frozenset(_PREPOSITIONS.split())
"""And conjunctions: where the "of" of an attribute ends."""
_CLAUSES = "if and or but when unless that who which while because although until to"
CLAUSES = frozenset(_CLAUSES.split())
"""With one of these in a question it matters where its "not" stands."""
_PREFIXES = "re un co pre post non anti de dis in"
PREFIXES = frozenset(_PREFIXES.split())
"""A hyphen behind one of these is not a matter of taste: to re-sign is not to resign."""

_KEPT_PLURALS = """
news goods arms customs glasses contents savings earnings proceeds premises spirits manners always perhaps series
species kubernetes postgres redis texas means thanks whereas this was has does its us plus less besides
towards afterwards sometimes upstairs downstairs athens wales mars terms directions minutes returns odds grounds remains
wages damages funds quarters letters securities affairs morals brains drawers
"""
KEPT_PLURALS = frozenset(_KEPT_PLURALS.split())
IRREGULAR = {"children": "child", "men": "man", "women": "woman", "feet": "foot", "teeth": "tooth", "mice": "mouse"}
_CAPITALS_COUNT = """
polish turkey china march may august apple java python rust go swift amazon oracle shell word windows us it who ram
aids chad jordan georgia nice reading mobile job mark will rose bill frank lent earth mercury mars sun titanic lima
guinea bath cork excel access outlook teams meta alphabet target gap chrome safari opera edge fox ray grace hope
faith joy dawn amber crystal jasmine drew pat rob sue art gene miles jack john cuba
"""
CAPITALS_COUNT = frozenset(_CAPITALS_COUNT.split())
"""Words that are others with a capital."""
