"""How facts are asked and told.

Questions of validation and test are paraphrases that training never shows; passages mention other countries and other
relations, so that shared words alone do not find the answer.

`{c}` is the country, `{o}` the object, `{n}` a neighbour of the country (or a country of its region). A passage
tells the object of its own relation only, and names one neighbour at most in passing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation between a country and a word."""

    train: tuple[str, ...]
    """Questions."""
    val: tuple[str, ...]
    test: tuple[str, ...]
    passages: tuple[str, ...]
    """The first two are told in training, all in evaluation."""


RELATIONS = {
    "capital": Relation(
        train=(
            "What is the capital of {c}?",
            "Which city is the capital of {c}?",
            "Name the seat of government of {c}.",
        ),
        val=("From which city is {c} governed?", "Where does the government of {c} sit?"),
        test=("In which city is the government of {c}?", "Which town rules {c}?", "Where is {c} governed from?"),
        passages=(
            "{o} is the capital of {c}; the people of {n} have another.",
            "The government of {c} has its seat in {o}, and that of {n} elsewhere.",
            "{c} is ruled from {o}; {n} has a capital of its own.",
        ),
    ),
    "largest": Relation(
        train=(
            "What is the largest city of {c}?",
            "Which city of {c} has the most people?",
            "Name the biggest city in {c}.",
        ),
        val=("Where in {c} do most people live together?", "Which place in {c} is the most populous?"),
        test=("Which town of {c} is the biggest of all?", "In what city do the most people of {c} live?"),
        passages=(
            "No city of {c} has more people than {o}, be it the capital or not.",
            "{o} is the largest city in {c}; {n} has a largest city of its own.",
            "With the most people of any town, {o} comes first among the cities of {c}, ahead of all in size.",
        ),
    ),
    "second": Relation(
        train=("What is the second largest city of {c}?", "Which city of {c} comes second by people?"),
        val=("Which place in {c} is the second most populous?", "Name the number two among the cities of {c}."),
        test=("Only one city of {c} is bigger than which?", "Which town of {c} follows the biggest one?"),
        passages=(
            "{o} comes second among the cities of {c} by the number of people.",
            "Only one city of {c}, its largest, has more people than {o}.",
            "{o} is the second largest city of {c}; in {n} another one is.",
        ),
    ),
    "currency": Relation(
        train=("What is the currency of {c}?", "Which money is used in {c}?", "What do people pay with in {c}?"),
        val=("In which currency are prices given in {c}?", "What money do the shops of {c} take?"),
        test=("How does one pay in the shops of {c}?", "Which notes and coins do people in {c} use?"),
        passages=(
            "Prices in {c} are given in {o}, in the capital and in every other city.",
            "People in {c} pay with notes and coins in {o}; visitors from {n} may have to change money.",
            "Money in {c}: the currency is {o}, also in the shops of its largest city.",
        ),
    ),
    "language": Relation(
        train=(
            "What language is spoken in {c}?",
            "Which language do people in {c} speak?",
            "Name a main language of {c}.",
        ),
        val=("In which tongue do people talk in {c}?", "What is spoken by the people of {c}?"),
        test=("How do people in {c} talk to each other?", "Which tongue is heard in {c}?"),
        passages=(
            "{o} is a main language of {c}, whatever the people of {n} speak.",
            "People in {c} talk to each other in {o}, in the capital and in other cities.",
            "A tongue heard in the cities of {c} is {o}.",
        ),
    ),
    "region": Relation(
        train=("In which part of the world is {c}?", "Where does {c} lie?", "What region is {c} in?"),
        val=("In what part of a continent do you find {c}?", "To which region does {c} belong?"),
        test=("Where on the map is {c}?", "Where in the world should one look for {c}?"),
        passages=(
            "{c} lies in the region called {o}, wherever {n} lies.",
            "On a map of the world {c} is found in {o}; so is its capital.",
            "The part of the world that {c} belongs to is {o}, whatever its neighbours and language.",
        ),
    ),
    "neighbours": Relation(
        train=("Which countries border {c}?", "What are the neighbours of {c}?", "Name countries next to {c}."),
        val=("With whom does {c} share a border?", "Which lands lie around {c}?"),
        test=("Who lives across the border from {c}?", "What countries does one reach by leaving {c} on land?"),
        passages=(
            "Among the neighbours of {c} are {o}.",
            "{c} shares a border with {o}, each with a capital of its own.",
            "Leaving {c} on land, people reach countries such as {o}.",
        ),
    ),
    "area": Relation(
        train=("What is the area of {c}?", "How large is {c}?", "How many square kilometres does {c} have?"),
        val=("How much land does {c} cover?", "What is the size of {c} in square kilometres?"),
        test=("How big is the land of {c}?", "Over what area does {c} stretch?"),
        passages=(
            "Within its borders {c} covers about {o}.",
            "The area of {c} is about {o}; its largest city takes only a part of that.",
            "From the border with its neighbours to its capital, {c} has about {o} of land and water.",
        ),
    ),
    "population": Relation(
        train=("What is the population of {c}?", "How many people live in {c}?", "How many inhabitants has {c}?"),
        val=("How many people call {c} their home?", "What number of people does {c} have?"),
        test=("How large is the number of people in {c}?", "By how many is {c} inhabited?"),
        passages=(
            "About {o} people live in {c}, in the largest city and everywhere else.",
            "{c} has a population of about {o}; people in {n} are not counted.",
            "Counting its capital, {c} is inhabited by some {o} people who call it their home.",
        ),
    ),
    "calling": Relation(
        train=("What is the calling code of {c}?", "Which number does one dial to phone {c}?"),
        val=("With what digits do phone numbers of {c} begin?", "How does one phone somebody in {c}?"),
        test=("What must one dial first to reach {c} by phone?", "Which digits call a friend in {c}?"),
        passages=(
            "To phone {c} from {n}, dial {o} first.",
            "Phone numbers of {c} begin with the digits {o}, in the capital and elsewhere.",
            "The calling code {o} reaches people in {c}, in its largest city too.",
        ),
    ),
    "domain": Relation(
        train=("What is the internet domain of {c}?", "How do web addresses of {c} end?"),
        val=("Which ending do websites from {c} have?", "Which letters close a web address in {c}?"),
        test=("Where a website is from {c}, what comes last in its address?", "How does one know a web page of {c}?"),
        passages=(
            "Web addresses of {c} end in {o}, those of {n} in other letters.",
            "{o} is the internet domain of {c}, used from the capital to the border.",
            "A website from {c} has an address whose last letters are {o}.",
        ),
    ),
    "demonym": Relation(
        train=("What are people from {c} called?", "What is the demonym of {c}?"),
        val=("How does one call somebody who is from {c}?", "Which word names a person from {c}?"),
        test=("What does one say of a friend who comes from {c}?", "Somebody born in {c} is what?"),
        passages=(
            "A person who comes from {c} is called {o}, also when living in {n}.",
            "{o} is the word for people and things from {c}, its capital or its cities.",
            "Somebody born in {c} says: I am {o}.",
        ),
    ),
    "code": Relation(
        train=("What is the three letter code of {c}?", "How is {c} written in three letters?"),
        val=("Which letters stand for {c} in a list of countries?", "What is {c} in short?"),
        test=("Under which short code is {c} listed?", "Which three letters does a table print for {c}?"),
        passages=(
            "The three letters {o} stand for {c} in lists of countries.",
            "In tables {c} is printed in short as {o}, and {n} as something else.",
            "Where a country is written as a code, {o} means {c}, not its capital or currency.",
        ),
    ),
}

PICTURED = {
    "train": ("this country", "the country shown", "the country of this picture"),
    "val": ("the land you see here",),
    "test": ("the country in the image", "the land shown here"),
}
"""What stands for `{c}` where the question shows the country."""
