"""The words a shallow reading looks for: small ones to pass over, good and bad ones, and names of moods."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SMALL = _words("""
    a about above after again all also am an and answer any are as at be because been before being below between both
    but by can classify could did do does doing down during each extract few following for from further give had has
    have having he her here his how i if in into is it its itself just keep keeps list many me mention mentioned more
    most my name no nor not now of off on once one only or other our out over own please reply same say sentence she
    should so some such summarise summarize tell text than that the their them then there these they think this those
    through to too translate two under until up very was we were what when where which while who whom why will with
    word words would write yes you your
""")
GOOD = _words("""
    amazing awesome beautiful best brilliant charming clean comfortable delicious delighted easy enjoyed excellent
    fantastic fast friendly good gorgeous great happy helpful impressive love loved loves nice perfect perfectly pleased
    recommend recommended reliable satisfied smooth superb tasty thanks wonderful
""")
BAD = _words("""
    annoying awful bad bland boring broke broken cold damaged defective dirty disappointed disappointing expensive
    failed fails faulty hate hated hates horrible late noisy overpriced poor poorly refund rude scratched slow slowly
    stopped terrible ugly uncomfortable unhappy unusable useless waste wasted worse worst wrong
""")
NOT = _words("can't cannot didn't doesn't don't hardly isn't never no not wasn't won't")
MOODS = {
    "good": _words("favorable favourable good happy pos positive praise satisfied"),
    "bad": _words("bad complaint dissatisfied neg negative unfavorable unfavourable unhappy"),
    "flat": _words("neutral none unclear unknown"),
    "mixed": _words("ambivalent both mixed"),
}
