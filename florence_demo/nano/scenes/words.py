"""The words that signs, pages, receipts and forms of synthetic scenes are written with."""

from __future__ import annotations


def _split(text: str, mark: str | None = None) -> tuple[str, ...]:
    """Return the entries of a block of text, between blanks or between marks."""
    return tuple(" ".join(entry.split()) for entry in text.split(mark))


WORDS = _split(
    """
    the and of to in is on at for with from by about after again air all also always animal
    answer any apple are around ask away back ball bank bear because before begin best better
    between big bird blue boat book both box bread bring brown build bus business busy but buy
    call came can car carry cat chair change cheese child city class clean clear close cloud
    coat coffee cold color come cook cool corner count country cup cut dance dark day deep
    desk dinner doctor dog door down draw dream dress drink drive dry early earth east easy
    eat egg eight end enough even every example eye face fall family far farm fast father few
    field fight find fine fire first fish five floor flower fly follow food foot forest form
    four free fresh friend fruit full game garden gate gift girl give glass gold good grass
    great green ground group grow half hand happy hard hat have head hear heart heavy help
    here high hill home horse hot hour house how ice idea inside island job join jump just
    keep key kind king kitchen know lake lamp land large last late laugh learn leave left
    letter life light line list little live long look lost love low lunch machine make many
    map market may meal meet milk mind minute money month moon more morning most mother
    mountain mouse move much music must name near neck need never new next nice night nine
    noise north nose note now number ocean office often old one only open orange order other
    our out over own page paint paper park part party path pen people piece place plan plant
    play please point pool post power press price print project pull push put queen question
    quick quiet quite race radio rain read ready red rest rich ride right ring river road rock
    roof room round row rule run sad safe salt same sand school sea season seat second see
    seven shape sharp ship shirt shoe shop short show side silver simple sing sit six size sky
    sleep slow small smile snow soft some song soon sound south space spring square stand star
    start station stay step still stone stop store storm story street strong study sugar
    summer sun sure sweet swim table take talk tall taste tea team tell ten test thank that
    then there thing think this three ticket time today together top touch town toy train
    travel tree true turn two under until use valley very village visit voice wait walk wall
    want warm wash watch water way week well west what wheel when where white wide wild will
    wind window winter wish wood word work world write year yellow yes young zebra zero zone
    café crème naïve über jalapeño année garçon señor déjà fiancé mañana größe schön
    """
)

CITIES = _split(
    """
    London Paris Berlin Madrid Rome Vienna Oslo Lima Cairo Tokyo Boston Dublin Prague Zürich
    Malmö Bogotá Delhi Seoul Sydney Lisbon Geneva Athens Quito Kyoto Denver Austin Leeds Porto
    Bern Ghent Riga Turin Dakar Hanoi Perth
    """
)

SERIES = _split(
    """
    Lions Bears Hawks Sharks Wolves Reds Blues Stars Kings Tigers
    """
)

SIGNS = _split(
    """open|closed|stop|exit|sale|hello|welcome|push|pull|no entry|no parking|one way|keep left|
    keep right|slow down|taxi|bus stop|hotel|café|bakery|fresh bread|ice cream|coffee|
    hot drinks|wet paint|danger|keep out|private|for sale|to let|tickets|information|way out|
    entrance|parking|school|hospital|library|museum|market|station|platform 2|gate 14|room 101|
    please wait|please knock|do not enter|no smoking|quiet please|free wifi|open daily|
    open 24 hours|back soon|happy birthday|thank you|good luck|best wishes|new|hot|free|yes|no|
    love|party|garden|pizza|burgers|flowers|books|shoes|toys|fish and chips|half price|50% off|
    two for one|buy now|road closed|road work|caution|mind the gap|mind your step|push to open|
    press here|lost dog|beware of the dog|no dogs|beach|camping|picnic area|harbour|airport|
    city centre|north|south|east|west|left|right|up|down|start|finish|players wanted|first aid|
    fire exit|staff only|crème brûlée|piñata|über alles gut|straße|señorita|à bientôt|
    self service|cash only|lift|toilets|drinking water|recycling|glass|paper|closed on sunday|
    today's menu|wow!|what's new?""",
    "|",
)

TITLES = _split(
    """notes|news|a short story|chapter one|chapter 2|my garden|the old house|weekly report|
    meeting|shopping list|recipe|about us|summary|the sea|winter days|letter home|rules|
    how to play|travel|questions|introduction|the red car|daily news|agenda|memo|diary|history|
    science|poem""",
    "|",
)

NAMES = _split(
    """Anna Weber|John Smith|Maria Silva|Peter Novak|Lucy Brown|Omar Haddad|Zoë King|Li Wei|
    José Ruiz|Emma Jones|Noah Clark|Olga Ivanova|Tom Baker|Sara Lind|Paul Dubois|Nina Rossi|
    David Cohen|Ella Fox|Hugo Martin|Ines Costa|Karl Berg|Mia Wong|Ravi Patel|Jane Miller|
    Ben Young|René Petit|Björn Dahl|Kate Moore|Max Vogel|Ana López|Sam Green|Ruth Adams|
    Yuki Sato|Frank Hill|Grace Lee|Ivan Petrov|Clara Stone|Leo Marsh|Amy Wood|Victor Hugo""",
    "|",
)

ITEMS = _split(
    """Coffee|Tea|Milk|Bread|Butter|Cheese|Apples|Bananas|Eggs|Rice|Pasta|Salad|Soup|Pizza|Burger|
    Cake|Juice|Water|Sugar|Salt|Honey|Jam|Cookies|Yogurt|Tomato|Onions|Fish|Chicken|Beans|Candy|
    Soap|Paper|Pens|Batteries|Flowers|Ticket|Muffin|Donut|Bagel|Latte|Crêpe|Croissant|Ice cream|
    Hot dog|Green tea|Olive oil|Newspaper|Grapes""",
    "|",
)

SHOPS = _split(
    """CORNER CAFÉ|City Market|Book House|FRESH & CO|Green Grocer|STAR FOODS|Bakery 21|
    The Tea Room|QUICK STOP|Sunny Shop|Old Mill Bakery|MINI MART|Harbour Bar|Pizza Point|
    Daily Goods|BLUE BOTTLE|Toy Box|Garden World|Petit Bistro|Hotel Rose|FOOD HALL|Coffee Lab|
    Super Save|K. Müller""",
    "|",
)

FIELDS = _split(
    """Name|Date|City|Phone|Invoice No|Amount|Total|Age|Room|Order|Customer|Email""",
    "|",
)
