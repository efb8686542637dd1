"""The words of the demo corpus, as tables to be read and extended.

One word a line, the English forms to the left of the bar and the German ones to the right. Every
English word has one German word, so that a sentence has one right translation.
"""

from __future__ import annotations

from dataclasses import dataclass

# English singular, plural | German nominative, gender, genitive ending, nominative plural.
# A star after the genitive ending marks the weak declension: the ending stands in the
# accusative and the dative, too (der Junge, den Jungen). German plural "-": none is used.
NOUNS = """
[man]
doctor doctors              | Arzt m es Ärzte
teacher teachers            | Lehrer m s Lehrer
baker bakers                | Bäcker m s Bäcker
farmer farmers              | Bauer m n* Bauern
gardener gardeners          | Gärtner m s Gärtner
neighbour neighbours        | Nachbar m n* Nachbarn
boy boys                    | Junge m n* Jungen
uncle uncles                | Onkel m s Onkel
brother brothers            | Bruder m s Brüder
son sons                    | Sohn m es Söhne
pilot pilots                | Pilot m en* Piloten
judge judges                | Richter m s Richter
king kings                  | König m s Könige
hunter hunters              | Jäger m s Jäger
guest guests                | Gast m es Gäste
student students            | Student m en* Studenten
lawyer lawyers              | Anwalt m s Anwälte
colleague colleagues        | Kollege m n* Kollegen

[woman]
woman women                 | Frau f - Frauen
nurse nurses                | Krankenschwester f - Krankenschwestern
sister sisters              | Schwester f - Schwestern
aunt aunts                  | Tante f - Tanten
daughter daughters          | Tochter f - Töchter
grandmother grandmothers    | Großmutter f - Großmütter
queen queens                | Königin f - Königinnen
actress actresses           | Schauspielerin f - Schauspielerinnen
waitress waitresses         | Kellnerin f - Kellnerinnen
girl girls                  | Mädchen n s Mädchen

[animal]
dog dogs                    | Hund m es Hunde
cat cats                    | Katze f - Katzen
horse horses                | Pferd n es Pferde
cow cows                    | Kuh f - Kühe
pig pigs                    | Schwein n es Schweine
bird birds                  | Vogel m s Vögel
goat goats                  | Ziege f - Ziegen
rabbit rabbits              | Kaninchen n s Kaninchen

[fruit]
apple apples                | Apfel m s Äpfel
pear pears                  | Birne f - Birnen
banana bananas              | Banane f - Bananen

[food]
cake cakes                  | Kuchen m s Kuchen
egg eggs                    | Ei n s Eier
tomato tomatoes             | Tomate f - Tomaten

[text]
book books                  | Buch n es Bücher
letter letters              | Brief m es Briefe
report reports              | Bericht m es Berichte
poem poems                  | Gedicht n es Gedichte
story stories               | Geschichte f - Geschichten
novel novels                | Roman m s Romane

[clothing]
coat coats                  | Mantel m s Mäntel
dress dresses               | Kleid n es Kleider
shirt shirts                | Hemd n es Hemden
jacket jackets              | Jacke f - Jacken
hat hats                    | Hut m es Hüte
skirt skirts                | Rock m es Röcke

[vehicle]
car cars                    | Auto n s Autos
bicycle bicycles            | Fahrrad n es Fahrräder
boat boats                  | Boot n es Boote
tractor tractors            | Traktor m s Traktoren
motorcycle motorcycles      | Motorrad n es Motorräder

[device]
lamp lamps                  | Lampe f - Lampen
radio radios                | Radio n s Radios
computer computers          | Computer m s Computer
television televisions      | Fernseher m s Fernseher
machine machines            | Maschine f - Maschinen

[furniture]
table tables                | Tisch m es Tische
chair chairs                | Stuhl m es Stühle
cupboard cupboards          | Schrank m es Schränke
bed beds                    | Bett n es Betten
bench benches               | Bank f - Bänke

[instrument]
guitar guitars              | Gitarre f - Gitarren
violin violins              | Geige f - Geigen
piano pianos                | Klavier n s Klaviere
trumpet trumpets            | Trompete f - Trompeten

[container]
suitcase suitcases          | Koffer m s Koffer
bag bags                    | Tasche f - Taschen
basket baskets              | Korb m es Körbe
bottle bottles              | Flasche f - Flaschen
box boxes                   | Kiste f - Kisten

[small]
key keys                    | Schlüssel m s Schlüssel
ring rings                  | Ring m es Ringe
umbrella umbrellas          | Regenschirm m s Regenschirme
clock clocks                | Uhr f - Uhren
knife knives                | Messer n s Messer
picture pictures            | Bild n es Bilder
map maps                    | Landkarte f - Landkarten

[opening]
window windows              | Fenster n s Fenster
door doors                  | Tür f - Türen
gate gates                  | Tor n es Tore

[room]
kitchen kitchens            | Küche f - Küchen
garage garages              | Garage f - Garagen
cellar cellars              | Keller m s Keller
bathroom bathrooms          | Badezimmer n s Badezimmer

[building]
house houses                | Haus n es Häuser
bridge bridges              | Brücke f - Brücken
tower towers                | Turm m es Türme
hospital hospitals          | Krankenhaus n es Krankenhäuser
church churches             | Kirche f - Kirchen
hotel hotels                | Hotel n s Hotels
museum museums              | Museum n s Museen
"""

# English, comparative | German, comparative, stem before an ending | classes it goes with.
# thing: all that is neither living nor a building; "state" adjectives only stand after "to be".
ADJECTIVES = """
red        -                | rot -                 rot     | clothing vehicle container
blue       -                | blau -                blau    | clothing vehicle container
green      -                | grün -                grün    | clothing vehicle container opening
white      -                | weiß -                weiß    | clothing animal opening building
black      -                | schwarz -             schwarz | clothing animal vehicle container
brown      -                | braun -               braun   | clothing animal furniture
big        bigger           | groß größer           groß    | object animal building
small      smaller          | klein kleiner         klein   | object animal building
old        older            | alt älter             alt     | thing animal building person
new        newer            | neu neuer             neu     | thing
expensive  -                | teuer teurer          teur    | buyable
cheap      cheaper          | billig billiger       billig  | buyable
heavy      heavier          | schwer schwerer       schwer  | container furniture device
beautiful  -                | schön schöner         schön   | clothing instrument building animal
long       longer           | lang länger           lang    | text
short      shorter          | kurz kürzer           kurz    | text
boring     -                | langweilig langweiliger langweilig | text
strange    stranger         | seltsam seltsamer     seltsam | text small clothing
fresh      fresher          | frisch frischer       frisch  | edible
sweet      sweeter          | süß süßer             süß     | fruit
famous     -                | berühmt berühmter     berühmt | building person
young      younger          | jung jünger           jung    | person animal
friendly   friendlier       | freundlich freundlicher freundlich | person
clever     cleverer         | klug klüger           klug    | person
rich       richer           | reich reicher         reich   | person
poor       poorer           | arm ärmer             arm     | person
polite     -                | höflich höflicher     höflich | person
lazy       lazier           | faul fauler           faul    | person animal
tired      -                | müde -                -       | state
sick       -                | krank -               -       | state
happy      happier          | glücklich glücklicher -       | state
sad        sadder           | traurig trauriger     -       | state
hungry     -                | hungrig -             -       | state
nervous    -                | nervös nervöser       -       | state
angry      -                | wütend -              -       | state
"""

# English base, past, participle, -ing form | German infinitive, 3rd person present, 3rd person
# past, participle | classes of the object | how it may be used.
# "pick~up": the particle goes behind a pronoun (picked him up); "look_for": it does not.
# "ab/holen": separable prefix. A star on the participle: the perfect is made with "sein".
# Uses: h habits, p progressive, s states (present tense without an adverb).
ACCUSATIVE_VERBS = """
buy bought bought buying | kaufen kauft kaufte gekauft | buyable edible |
sell sold sold selling | verkaufen verkauft verkaufte verkauft | buyable animal |
repair repaired repaired repairing | reparieren repariert reparierte repariert | \
vehicle device furniture | p
wash washed washed washing | waschen wäscht wusch gewaschen | vehicle clothing | h p
read read read reading | lesen liest las gelesen | text | h p
write wrote written writing | schreiben schreibt schrieb geschrieben | text | p
eat ate eaten eating | essen isst aß gegessen | edible | h p
bring~along brought brought bringing | mit/bringen bringt brachte mitgebracht | \
edible small container instrument |
open opened opened opening | öffnen öffnet öffnete geöffnet | opening container | h
close closed closed closing | schließen schließt schloss geschlossen | opening container | h
turn~on turned turned turning | ein/schalten schaltet schaltete eingeschaltet | device | h
turn~off turned turned turning | aus/schalten schaltet schaltete ausgeschaltet | device | h
find found found finding | finden findet fand gefunden | small clothing animal |
lose lost lost losing | verlieren verliert verlor verloren | small clothing |
look_for looked looked looking | suchen sucht suchte gesucht | small animal person | p
forget forgot forgotten forgetting | vergessen vergisst vergaß vergessen | small clothing |
see saw seen seeing | sehen sieht sah gesehen | person animal |
call called called calling | an/rufen ruft rief angerufen | person | h
invite invited invited inviting | ein/laden lädt lud eingeladen | person | h
pick~up picked picked picking | ab/holen holt holte abgeholt | person | h
meet met met meeting | treffen trifft traf getroffen | person | h
visit visited visited visiting | besuchen besucht besuchte besucht | person | h
know knew known knowing | kennen kennt kannte gekannt | person | s
love loved loved loving | lieben liebt liebte geliebt | person animal | s
need needed needed needing | brauchen braucht brauchte gebraucht | \
small vehicle device container | s
own owned owned owning | besitzen besitzt besaß besessen | vehicle animal instrument | s
feed fed fed feeding | füttern füttert fütterte gefüttert | animal | h p
tidy~up tidied tidied tidying | auf/räumen räumt räumte aufgeräumt | room | h p
paint painted painted painting | streichen streicht strich gestrichen | opening furniture | p
borrow borrowed borrowed borrowing | aus/leihen leiht lieh ausgeliehen | text instrument |
return returned returned returning | zurück/geben gibt gab zurückgegeben | text instrument |
throw~away threw thrown throwing | weg/werfen wirft warf weggeworfen | clothing furniture |
carry carried carried carrying | tragen trägt trug getragen | container furniture | p
hide hid hidden hiding | verstecken versteckt versteckte versteckt | small container |
"""

DATIVE_VERBS = """
help helped helped helping | helfen hilft half geholfen | person | h p
thank thanked thanked thanking | danken dankt dankte gedankt | person |
follow followed followed following | folgen folgt folgte *gefolgt | person animal | p
trust trusted trusted trusting | vertrauen vertraut vertraute vertraut | person | s
congratulate congratulated congratulated congratulating | \
gratulieren gratuliert gratulierte gratuliert | person |
answer answered answered answering | antworten antwortet antwortete geantwortet | person |
listen_to listened listened listening | zu/hören hört hörte zugehört | person | h p
"""

DITRANSITIVE_VERBS = """
give gave given giving | geben gibt gab gegeben | small text clothing instrument |
show showed shown showing | zeigen zeigt zeigte gezeigt | small text vehicle animal |
send sent sent sending | schicken schickt schickte geschickt | text small clothing |
lend lent lent lending | leihen leiht lieh geliehen | vehicle text instrument |
offer offered offered offering | an/bieten bietet bot angeboten | edible vehicle |
"""

INTRANSITIVE_VERBS = """
sleep slept slept sleeping | schlafen schläft schlief geschlafen | | h p
work worked worked working | arbeiten arbeitet arbeitete gearbeitet | | h p
wait waited waited waiting | warten wartet wartete gewartet | | h p
sing sang sung singing | singen singt sang gesungen | | h p
dance danced danced dancing | tanzen tanzt tanzte getanzt | | h p
play played played playing | spielen spielt spielte gespielt | | h p
"""

# Something that happens at a moment: with times, without places.
EVENT_VERBS = """
arrive arrived arrived arriving | an/kommen kommt kam *angekommen | |
leave left left leaving | ab/reisen reist reiste *abgereist | |
get_up got got getting | auf/stehen steht stand *aufgestanden | | h
fall_asleep fell fallen falling | ein/schlafen schläft schlief *eingeschlafen | |
wake_up woke woken waking | auf/wachen wacht wachte *aufgewacht | | h
come_back came come coming | zurück/kommen kommt kam *zurückgekommen | |
"""

MOTION_VERBS = """
travel travelled travelled travelling | reisen reist reiste *gereist | | h
drive drove driven driving | fahren fährt fuhr *gefahren | | h
fly flew flown flying | fliegen fliegt flog *geflogen | | h
return returned returned returning | zurück/kehren kehrt kehrte *zurückgekehrt | |
"""

# Verbs with a place of their own, picked by name.
OTHER_VERBS = """
live lived lived living | wohnen wohnt wohnte gewohnt | | s
stay stayed stayed staying | bleiben bleibt blieb *geblieben | |
say said said saying | sagen sagt sagte gesagt | | s
believe believed believed believing | glauben glaubt glaubte geglaubt | | s
hope hoped hoped hoping | hoffen hofft hoffte gehofft | | s
know knew known knowing | wissen weiß wusste gewusst | | s
belong_to belonged belonged belonging | gehören gehört gehörte gehört | | s
like liked liked liking | mögen mag mochte gemocht | | s
try tried tried trying | versuchen versucht versuchte versucht | |
promise promised promised promising | versprechen verspricht versprach versprochen | |
cost cost cost costing | kosten kostet kostete gekostet | | s
put put put putting | legen legt legte gelegt | text clothing small |
put put put putting | stellen stellt stellte gestellt | device container |
rain rained rained raining | regnen regnet regnete geregnet | |
"""

# Nouns that are laid (legen, liegen) rather than stood (stellen, stehen) somewhere.
LYING = ("text", "clothing", "small")
STANDING = ("device", "container")

SUPERCLASSES = {
    "person": ("man", "woman"),
    "edible": ("food", "fruit"),
    "buyable": ("clothing", "vehicle", "device", "furniture", "instrument", "container"),
    "object": (
        *("clothing", "vehicle", "device", "furniture", "instrument", "container"),
        *("small", "opening", "room"),
    ),
    "thing": (
        *("text", "clothing", "vehicle", "device", "furniture", "instrument", "container"),
        *("small", "opening", "room"),
    ),
}

# Members of the family are somebody's; the related are somebody's or not.
FAMILY = "uncle brother son sister aunt daughter grandmother".split()
RELATED = "doctor teacher neighbour guest lawyer colleague".split()
PROFESSIONS = "doctor teacher baker farmer gardener pilot judge student lawyer".split()

# What may happen next to a thing: he bought the bicycle, but he lost it (German infinitives).
SEQUENCES = """
kaufen      | verkaufen verlieren vergessen zeigen geben leihen reparieren waschen
finden      | verlieren verstecken zeigen geben verkaufen
öffnen      | schließen
schließen   | öffnen
einschalten | ausschalten
ausleihen   | zurückgeben lesen zeigen
schreiben   | lesen zeigen schicken
suchen      | finden
verlieren   | finden
verstecken  | finden vergessen
reparieren  | verkaufen waschen zeigen leihen
waschen     | verkaufen zeigen geben
streichen   | verkaufen
mitbringen  | vergessen zeigen essen geben
"""

# Reasons that somebody has for something: verbs after "wanted to" and "had to", and verbs in the
# pluperfect (because she had lost her key).
PLANS = "schlafen arbeiten warten singen tanzen spielen abreisen zurückkommen".split()
MISHAPS = "kaufen verkaufen finden verlieren vergessen zurückgeben".split()
# Verbs whose object may come in hundreds.
IN_HUNDREDS = "kaufen verkaufen brauchen besitzen".split()
# What one does with a thing because it is so or so (... because it was too expensive).
JUDGED = (
    "kaufen verkaufen wegwerfen waschen lesen reparieren zurückgeben ausleihen streichen essen"
).split()
# What nobody does on purpose.
UNINTENDED = "verlieren vergessen sehen finden einschlafen aufwachen".split()

PLACES = """
in the garden       | im Garten
in the park         | im Park
in the kitchen      | in der Küche
at school           | in der Schule
at the station      | am Bahnhof
in the library      | in der Bibliothek
at the market       | auf dem Markt
in the office       | im Büro
at home             | zu Hause
in the village      | im Dorf
in the forest       | im Wald
at the hotel        | im Hotel
in front of the church | vor der Kirche
behind the house    | hinter dem Haus
next to the bridge  | neben der Brücke
"""

INDOORS = ("in the kitchen", "at school", "in the library", "in the office", "at the hotel")

PAST_TIMES = """
yesterday           | gestern
yesterday evening   | gestern Abend
this morning        | heute Morgen
last week           | letzte Woche
last summer         | letzten Sommer
last year           | letztes Jahr
"""

FUTURE_TIMES = """
tomorrow            | morgen
tomorrow evening    | morgen Abend
next week           | nächste Woche
next summer         | nächsten Sommer
next year           | nächstes Jahr
soon                | bald
"""

HABIT_TIMES = """
every day           | jeden Tag
every morning       | jeden Morgen
every week          | jede Woche
in the evening      | am Abend
at the weekend      | am Wochenende
in summer           | im Sommer
"""

# Adverbs before the main verb in English.
FREQUENCIES = """
often               | oft
sometimes           | manchmal
always              | immer
never               | nie
rarely              | selten
"""

WEEKDAYS = """
Monday Montag
Tuesday Dienstag
Wednesday Mittwoch
Thursday Donnerstag
Friday Freitag
Saturday Samstag
Sunday Sonntag
"""

MONTHS = """
January Januar
February Februar
March März
April April
May Mai
June Juni
July Juli
August August
September September
October Oktober
November November
December Dezember
"""


@dataclass(frozen=True)
class Noun:
    singular: str
    plural: str
    german: str
    gender: str  # m, f or n
    genitive: str  # ending
    weak: bool
    german_plural: str
    kind: str  # the class it stands under


@dataclass(frozen=True)
class Adjective:
    english: str
    comparative: str | None  # None: with "more", or not compared
    german: str
    german_comparative: str | None
    stem: str | None  # None: only after "to be"
    kinds: frozenset[str]


@dataclass(frozen=True)
class Verb:
    base: str
    past: str
    participle: str
    ing: str
    particle: str  # English: "up" of "pick up"
    particle_moves: bool  # "picked him up"
    infinitive: str  # German, without the separable prefix
    third: str
    german_past: str
    german_participle: str
    prefix: str  # separable prefix or ""
    with_sein: bool
    kinds: frozenset[str]  # of the object
    uses: frozenset[str]


@dataclass(frozen=True)
class Pair:
    """A fixed expression in both languages."""

    en: str
    de: str


def _rows(table: str) -> list[list[str]]:
    lines = (line.strip() for line in table.splitlines())
    return [[part.strip() for part in line.split("|")] for line in lines if line]


def _expand(kinds: str) -> frozenset[str]:
    return frozenset(k for kind in kinds.split() for k in SUPERCLASSES.get(kind, (kind,)))


def _nouns(table: str) -> dict[str, list[Noun]]:
    by_kind: dict[str, list[Noun]] = {}
    kind = ""
    for row in _rows(table):
        if row[0].startswith("["):
            kind = row[0].strip("[]")
            continue
        singular, plural = row[0].split()
        german, gender, ending, german_plural = row[1].split()
        genitive = "" if ending == "-" else ending.rstrip("*")
        noun = Noun(
            singular, plural, german, gender, genitive, ending.endswith("*"), german_plural, kind
        )
        by_kind.setdefault(kind, []).append(noun)
    return by_kind


def _adjectives(table: str) -> list[Adjective]:
    found = []
    for english, german, kinds in _rows(table):
        word, comparative = english.split()
        de, de_comparative, stem = (None if x == "-" else x for x in german.split())
        if comparative == "-":
            comparative = None
        found.append(Adjective(word, comparative, de, de_comparative, stem, _expand(kinds)))
    return found


def _verb(row: list[str]) -> Verb:
    english, german, kinds, uses = row
    base, past, participle, ing = english.split()
    infinitive, third, german_past, german_participle = german.split()
    separator = "~" if "~" in base else "_"
    base, _, particle = base.partition(separator)
    prefix, _, infinitive = infinitive.rpartition("/")
    return Verb(
        base,
        past,
        participle,
        ing,
        particle,
        separator == "~",
        infinitive,
        third,
        german_past,
        german_participle.lstrip("*"),
        prefix,
        german_participle.startswith("*"),
        _expand(kinds),
        frozenset(uses.split()),
    )


def _verbs(table: str) -> list[Verb]:
    return [_verb(row) for row in _rows(table)]


def _pairs(table: str) -> list[Pair]:
    return [Pair(en, de) for en, de in _rows(table)]


def _words(table: str) -> list[Pair]:
    return [Pair(*row[0].split()) for row in _rows(table)]


nouns = _nouns(NOUNS)
adjectives = _adjectives(ADJECTIVES)
accusative_verbs = _verbs(ACCUSATIVE_VERBS)
dative_verbs = _verbs(DATIVE_VERBS)
ditransitive_verbs = _verbs(DITRANSITIVE_VERBS)
intransitive_verbs = _verbs(INTRANSITIVE_VERBS)
event_verbs = _verbs(EVENT_VERBS)
motion_verbs = _verbs(MOTION_VERBS)
other_verbs = {verb.infinitive: verb for verb in _verbs(OTHER_VERBS)}
places = _pairs(PLACES)
indoors = [place for place in places if place.en in INDOORS]
past_times = _pairs(PAST_TIMES)
future_times = _pairs(FUTURE_TIMES)
habit_times = _pairs(HABIT_TIMES)
frequencies = _pairs(FREQUENCIES)
weekdays = _words(WEEKDAYS)
months = _words(MONTHS)
by_infinitive = {
    verb.prefix + verb.infinitive: verb
    for verb in (
        *(*accusative_verbs, *dative_verbs, *ditransitive_verbs),
        *(*intransitive_verbs, *event_verbs, *motion_verbs),
    )
}
sequences = {first: later.split() for first, later in _rows(SEQUENCES)}


def nouns_of(kinds: frozenset[str] | tuple[str, ...]) -> list[Noun]:
    """The nouns of these classes, in the order of the table."""
    wanted = _expand(" ".join(sorted(kinds)))
    return [noun for kind, members in nouns.items() if kind in wanted for noun in members]
