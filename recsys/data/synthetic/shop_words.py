"""The vocabulary of the synthetic shop: what it sells and how it describes it. Every brand is invented."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Theme:
    """One department of the shop.

    Attributes
    ----------
    name : str
        What the ``category`` column says.
    brands, lines : tuple of str
        Makers, and the names of their model ranges; any of one goes with any of the other.
    adjectives, perks : tuple of str
        Opening words and closing sentences of a description, such that each suits every product of the theme.
    products : tuple of (noun, usual price, options, use)
        In the order in which people tend to buy them; options are divided by "/", and "noun use" makes a sentence.
    """

    name: str
    brands: tuple[str, ...]
    lines: tuple[str, ...]
    adjectives: tuple[str, ...]
    perks: tuple[str, ...]
    products: tuple[tuple[str, int, str, str], ...]


TITLE_TEMPLATE: Final = "{brand} {line} {noun}, {option}"
DESCRIPTION_TEMPLATES: Final = (
    "{adjective} {noun} {use}. {perk}.",
    "{adjective} {noun} {use}. From the {brand} {line} range.",
    "{perk}. {adjective} {noun} {use}.",
)

THEMES: Final = (
    Theme(
        "Camping",
        ("Nordpeak", "Fellrow", "Tarnhaus", "Wildmoor", "Cairnstead"),
        ("Ridgeline", "Summit", "Basecamp", "Trailhead", "Solitude", "Moorland"),
        ("Lightweight", "Hard-wearing", "Compact", "Dependable", "All-season"),
        ("Packs small for the walk in", "Made for long weekends off the grid", "Tested on wet and windy campsites"),
        (
            ("trekking tent", 230, "2-person/3-person/4-person", "that pitches in minutes and stays dry in heavy rain"),
            ("sleeping bag", 95, "3-season/winter/summer", "that keeps campers warm through frosty nights outdoors"),
            ("inflatable sleeping mat", 60, "regular/long/double", "that insulates sleepers from cold, stony ground"),
            ("camping stove", 48, "single burner/twin burner/gas canister", "for boiling water and frying by the tent"),
            ("camp cook set", 38, "titanium/aluminium/enamel", "of nesting pots and a pan for meals in the wild"),
            ("camping lantern", 32, "rechargeable/solar/battery", "that lights a tent or picnic table after dark"),
            ("water filter", 36, "squeeze/pump/gravity", "that makes stream and lake water safe to drink"),
            ("hiking rucksack", 110, "40 litre/55 litre/70 litre", "for carrying camp kit on trails for days"),
        ),
    ),
    Theme(
        "Fishing",
        ("Riverholt", "Pikewater", "Brackline", "Heronmere", "Saltwyke"),
        ("Stillwater", "Estuary", "Rapids", "Deepwater", "Dawn Rise", "Weir"),
        ("Dependable", "Tough", "Angler-tested", "Saltwater-proof", "Classic"),
        ("Ready for lake, river or shore", "Trusted by match anglers", "Shrugs off mud, salt and spray"),
        (
            ("spinning rod", 72, "2.1 m/2.4 m/2.7 m", "for casting lures to pike, perch and trout"),
            ("fishing reel", 64, "size 2500/size 3000/size 4000", "with a smooth drag for fighting strong fish"),
            ("braided fishing line", 17, "0.12 mm/0.16 mm/0.20 mm", "that casts far and feels every bite"),
            ("lure set", 22, "for pike/for perch/for sea bass", "of wobblers, spinners and soft baits for predators"),
            ("tackle box", 34, "two trays/three trays/with drawers", "that sorts hooks, weights and lures"),
            ("landing net", 29, "folding/telescopic/rubber mesh", "for lifting a catch out of the water unharmed"),
            ("chest waders", 88, "size M/size L/size XL", "for standing waist-deep in a cold river"),
            ("fishing chair", 58, "folding/reclining/with rod rest", "for long sessions on an uneven bank"),
        ),
    ),
    Theme(
        "Photography",
        ("Lumivar", "Optrelle", "Kaskode", "Halidor", "Photonwerk"),
        ("Aperture", "Chroma", "Studio", "Field", "Monolith", "Golden Hour"),
        ("Professional", "Precise", "Compact", "Rugged", "Award-winning"),
        ("At home in the studio and on the road", "A favourite of landscape photographers", "Built for daily shoots"),
        (
            ("mirrorless camera", 890, "body only/with kit lens/full frame", "for sharp stills and video in low light"),
            ("prime lens", 420, "35 mm/50 mm/85 mm", "for portraits with soft, blurred backgrounds"),
            ("memory card", 34, "64 GB/128 GB/256 GB", "that keeps up with burst shooting and 4K video"),
            ("camera bag", 78, "sling/backpack/shoulder", "with padded dividers for a camera body and lenses"),
            ("camera tripod", 125, "carbon/aluminium/travel", "that holds still for long exposures"),
            ("lens filter", 44, "polarising/neutral density/UV", "that tames glare and bright skies"),
            ("camera flash", 160, "hot-shoe/ring light/wireless", "that fills in shadows and lights portraits"),
            ("photo printer", 240, "A4/A3/pocket size", "for borderless prints of pictures at home"),
        ),
    ),
    Theme(
        "Music practice",
        ("Chordwell", "Tonebarrow", "Liralto", "Cadenzia", "Maplenote"),
        ("Prelude", "Nocturne", "Rehearsal", "Encore", "Ballad", "Open Mic"),
        ("Well-crafted", "Beginner-friendly", "Teacher-recommended", "Stage-ready", "Classic"),
        ("Makes daily practice a pleasure", "Chosen by music schools", "For the first lesson and the hundredth gig"),
        (
            ("acoustic guitar", 210, "dreadnought/concert/three-quarter size", "with a spruce top and an easy neck"),
            ("guitar strings", 11, "light gauge/medium gauge/nylon", "that stay in tune and ring clearly"),
            ("clip-on tuner", 15, "chromatic/backlit/rechargeable", "that reads the pitch of a plucked string"),
            ("music stand", 32, "folding/orchestral/with lamp", "that holds scores at eye level while playing"),
            ("songbook", 18, "folk/blues/pop hits", "of chords, tabs and lyrics to play along with"),
            ("metronome", 27, "wind-up/digital/with headphone socket", "that keeps a steady beat for scales"),
            ("practice amplifier", 105, "10 watt/20 watt/battery", "for plugging in an instrument at bedroom volume"),
            (
                "guitar case",
                75,
                "hard shell/padded gig bag/flight",
                "that protects an instrument on the way to lessons",
            ),
        ),
    ),
    Theme(
        "Home office",
        ("Deskara", "Ergolund", "Plankhaus", "Ostermere", "Tidewright"),
        ("Focus", "Studio", "Meridian", "Quiet", "Flow", "Nine-to-Five"),
        ("Practical", "Sturdy", "Minimalist", "Space-saving", "Office-grade"),
        ("Keeps a small study tidy", "Made for full working days", "Part of a calm, orderly desk"),
        (
            ("standing desk", 380, "oak/white/black", "that rises at the push of a button for work on foot"),
            ("office chair", 260, "mesh back/high back/with headrest", "with lumbar support for hours of sitting"),
            ("monitor arm", 85, "single/dual/ultrawide", "that floats a computer screen at eye height"),
            ("desk lamp", 46, "clamp/dimmable/with USB port", "that lights papers without glare on the screen"),
            (
                "mechanical keyboard",
                98,
                "silent switches/tactile switches/wireless",
                "for fast typing of emails and code",
            ),
            ("computer mouse", 42, "vertical/trackball/wireless", "that rests the wrist through long spreadsheets"),
            ("laptop stand", 37, "aluminium/folding/bamboo", "that lifts a notebook for a straight back"),
            ("webcam", 69, "1080p/4K/with privacy shutter", "for clear video calls and online meetings"),
        ),
    ),
    Theme(
        "Coffee",
        ("Cremaro", "Brewhollow", "Torrefino", "Baristelle", "Mokkadal"),
        ("Piazza", "Aurora", "Velluto", "Mattina", "Bottega", "Riserva"),
        ("Barista-grade", "Cafe-style", "Everyday", "Award-winning", "Much-loved"),
        ("For cafe quality at home", "A better cup every morning", "Loved by home baristas"),
        (
            ("espresso machine", 420, "single boiler/dual boiler/with steam wand", "that pulls rich shots with crema"),
            ("burr coffee grinder", 150, "electric/hand-cranked/stepless", "for fresh, even grounds of any brew"),
            ("espresso beans", 16, "250 g/500 g/1 kg", "roasted in small batches with notes of cocoa and nuts"),
            ("coffee tamper", 28, "53 mm/58 mm/spring-loaded", "that presses grounds level in the portafilter"),
            ("milk frothing jug", 21, "350 ml/600 ml/with thermometer", "for silky steamed milk and latte art"),
            ("espresso cups", 26, "set of 2/set of 4/set of 6", "of thick porcelain that keep a short coffee hot"),
            ("knock box", 24, "steel/walnut/compact", "for spent coffee pucks, quiet and easy to empty"),
            ("descaling tablets", 10, "pack of 8/pack of 12/pack of 24", "that rid coffee makers of limescale"),
        ),
    ),
    Theme(
        "Baking",
        ("Crumbrook", "Millwhisk", "Ovenleigh", "Farinelle", "Sugarfen"),
        ("Patisserie", "Farmhouse", "Sunday", "Golden Crust", "Artisan", "Vanilla"),
        ("Professional", "Traditional", "Home-baker's", "Reliable", "Bakery-quality"),
        ("For bread and cakes that rise every time", "A joy in any kitchen", "Recommended by pastry chefs"),
        (
            ("stand mixer", 290, "4 litre/5 litre/7 litre", "that kneads bread dough and whips egg whites"),
            ("mixing bowls", 34, "steel/glass/ceramic", "for stirring batter, nested to save cupboard space"),
            ("kitchen scale", 23, "5 kg/10 kg/0.1 g precision", "for weighing flour, butter and sugar"),
            ("bread flour", 7, "white/wholemeal/rye blend", "milled from strong wheat for sourdough and rolls"),
            ("proving basket", 19, "round/oval/with linen liner", "that shapes rising dough for crusty loaves"),
            ("cake tin", 15, "20 cm/23 cm/26 cm", "with a loose base for sponges and cheesecakes"),
            (
                "icing piping set",
                18,
                "12 nozzles/24 nozzles/for macarons",
                "for decorating cupcakes and cakes with cream",
            ),
            ("cooling rack", 14, "single/stacking/extra wide", "for biscuits and loaves fresh from the oven"),
        ),
    ),
    Theme(
        "Gardening",
        ("Greenhollow", "Fernwright", "Rootsworth", "Bloomstead", "Mossgate"),
        ("Allotment", "Cottage", "Evergreen", "Orchard", "Kew Lane", "Spring"),
        ("Traditional", "Well-made", "Gardener-approved", "Eco-friendly", "Long-trusted"),
        ("For plots, patios and balconies", "Made for green fingers", "Made with nature in mind"),
        (
            ("raised bed kit", 85, "larch/galvanised steel/corner", "for growing vegetables above poor soil"),
            ("potting compost", 12, "20 litre/40 litre/peat-free", "that feeds seedlings and container plants"),
            ("vegetable seeds", 6, "tomato/salad mix/beans and peas", "for sowing in spring and harvesting all summer"),
            ("hand trowel", 17, "ash handle/stainless/narrow blade", "for planting bulbs and lifting weeds"),
            ("watering can", 29, "5 litre/9 litre/long spout", "that sprinkles beds and borders gently"),
            ("pruning shears", 33, "bypass/anvil/left-handed", "that cut roses and fruit trees cleanly"),
            ("plant feed", 11, "liquid/granules/seaweed", "for strong roots, blossom and heavy crops"),
            ("gardening gloves", 14, "size S/size M/size L", "that keep thorns and mud off the hands"),
        ),
    ),
    Theme(
        "Pets",
        ("Pawsley", "Barkenfold", "Tailwynd", "Muddlepaw", "Furrowby"),
        ("Walkies", "Snug", "Rascal", "Old Faithful", "Puppy Club", "Fetch"),
        ("Vet-approved", "Best-loved", "Everyday", "Tried-and-tested", "Premium"),
        ("Wagging tails guaranteed", "Kind to puppies and old dogs alike", "Tested by a very muddy spaniel"),
        (
            ("dog bed", 58, "small/medium/large", "with a soft bolster and a washable cover for naps"),
            ("dog collar", 16, "leather/reflective/padded", "with a strong buckle and a ring for the name tag"),
            ("dog lead", 19, "1.2 m/2 m/retractable", "for walks in the park without pulled arms"),
            ("dog bowl", 14, "stainless/slow feeder/raised", "for food and water that does not slide or tip"),
            ("dog food", 38, "chicken/salmon/lamb and rice", "of dry kibble with meat, for a shiny coat"),
            ("dog treats", 8, "liver/peanut/training size", "for rewarding good pups during training"),
            ("dog chew toy", 11, "rope/rubber bone/squeaky", "that keeps teeth busy and slippers safe"),
            ("dog grooming brush", 17, "slicker/undercoat/glove", "that lifts loose fur and untangles coats"),
        ),
    ),
    Theme(
        "Baby",
        ("Lullamoor", "Cotswick", "Tinyfold", "Pipwillow", "Cradlebrook"),
        ("Moonbeam", "Little Lamb", "Cuddle", "Daydream", "Starlight", "First Steps"),
        ("Safety-tested", "Gentle", "Parent-approved", "Easy-clean", "Well-made"),
        ("From the first day home", "Makes the early months easier", "Free of harmful substances"),
        (
            ("baby cot", 240, "beech/white/convertible", "with an adjustable base for newborns and toddlers"),
            ("cot mattress", 92, "foam/pocket sprung/breathable", "for safe, flat infant sleep"),
            ("baby monitor", 95, "audio/video/with night light", "that lets parents hear the nursery from downstairs"),
            ("pushchair", 390, "compact fold/all-terrain/with carrycot", "for strolls with an infant, in town or park"),
            ("nappy bag", 55, "backpack/tote/with changing mat", "with pockets for wipes, spare clothes and bottles"),
            ("baby bottles", 24, "set of 3/set of 6/glass", "with slow-flow teats against colic"),
            ("bottle steriliser", 48, "electric steam/microwave/with dryer", "that rids feeding bottles of germs"),
            ("high chair", 105, "folding/wooden/with tray", "for weaning and family meals at the table"),
        ),
    ),
    Theme(
        "Toys & games",
        ("Playbarn", "Whimsywood", "Tockhill", "Jollycrate", "Brickaboo"),
        ("Adventure", "Rainbow", "Castle", "Jungle", "Space Station", "Rainy Day"),
        ("Well-loved", "Colourful", "Child-safe", "Award-winning", "Family-favourite"),
        ("Made for rainy afternoons", "A birthday present that gets played with", "For ages three and up"),
        (
            (
                "wooden train set",
                52,
                "30 pieces/60 pieces/with bridge",
                "with engines, wagons and track for the carpet",
            ),
            ("train track expansion", 24, "curves/switches/tunnel", "of extra rails that fit toy railways"),
            ("building bricks", 39, "200 pieces/500 pieces/1000 pieces", "for stacking houses, towers and robots"),
            ("toy storage box", 28, "small/large/with play mat lid", "that clears blocks and figures off the floor"),
            ("jigsaw puzzle", 17, "100 pieces/500 pieces/1000 pieces", "with a bright picture to piece together"),
            ("puzzle mat", 22, "roll-up/felt/with sorting trays", "for rolling up an unfinished jigsaw"),
            ("board game", 33, "2 to 4 players/3 to 6 players/cooperative", "of dice, tactics and luck for game night"),
            ("card game", 12, "travel tin/party/for two", "of quick rounds and bluffing with a deck of cards"),
        ),
    ),
    Theme(
        "Knitting & crafts",
        ("Woolbeck", "Purlhaven", "Skeinwell", "Loomsby", "Hookfern"),
        ("Heather", "Fireside", "Shetland", "Meadow", "Winter Tale", "Patchwork"),
        ("Carefully made", "Charming", "Beginner-friendly", "Much-loved", "Classic"),
        ("For quiet evenings by the fire", "A gift that crafters treasure", "Picked by our knitting circle"),
        (
            ("merino yarn", 13, "heather grey/rust red/sea green", "that knits into soft jumpers and scarves"),
            ("knitting needles", 19, "4 mm/5 mm/interchangeable", "of smooth wood that let stitches glide"),
            ("stitch markers", 7, "set of 20/set of 50/locking", "for counting rows and repeats in knitting"),
            ("knitting pattern book", 21, "socks/jumpers/baby knits", "with charts and photographs of each garment"),
            ("yarn project bag", 26, "canvas/drawstring/with pockets", "that carries wool and unfinished work"),
            ("crochet hooks", 16, "set of 6/set of 9/soft grip", "for granny squares, blankets and amigurumi"),
            ("embroidery kit", 23, "wildflowers/birds/alphabet", "with hoop, needle, thread and printed cloth"),
            ("blocking mats", 29, "set of 4/set of 9/with pins", "for pinning damp knitwear into shape"),
        ),
    ),
    Theme(
        "Skincare",
        ("Dermalune", "Petalveil", "Aquaverre", "Clarimoss", "Botanelle"),
        ("Hydra", "Pure", "Calm", "Radiance", "Silk", "Derma Lab"),
        ("Fragrance-free", "Dermatologist-tested", "Gentle", "Vegan", "Soothing"),
        ("Suitable for sensitive skin", "Never tested on animals", "Part of a simple daily routine"),
        (
            ("facial cleanser", 14, "150 ml gel/200 ml foam/100 ml balm", "that washes off make-up and dirt"),
            ("face toner", 16, "200 ml/with rose water/with glycolic acid", "that refines pores after washing"),
            ("vitamin C serum", 29, "15 ml/30 ml/with hyaluronic acid", "that brightens dull skin and dark spots"),
            ("face moisturiser", 22, "50 ml/75 ml/for dry skin", "that softens and hydrates cheeks and forehead"),
            ("face sunscreen", 19, "SPF 30/SPF 50/tinted", "that shields skin from UV rays without shine"),
            ("clay face mask", 17, "green clay/pink clay/charcoal", "that draws oil and impurities from pores"),
            ("night cream", 34, "50 ml/with retinol/with peptides", "that smooths fine lines during sleep"),
            ("lip balm", 6, "beeswax/shea/SPF 15", "that heals chapped lips in cold weather"),
        ),
    ),
    Theme(
        "Running",
        ("Stridenne", "Paceholm", "Swiftarn", "Tempofox", "Kilomar"),
        ("Tempo", "Marathon", "Sprint", "Night Run", "Negative Split", "Endurance"),
        ("Race-ready", "Athlete-approved", "Well-tested", "Coach-recommended", "High-performance"),
        ("For 5 km and marathon alike", "Proven over a full training season", "Helps every runner find a rhythm"),
        (
            ("running shoes", 125, "neutral/stability/trail", "with springy foam cushioning for road miles"),
            ("running socks", 15, "ankle/crew/compression", "that wick sweat and prevent blisters"),
            ("running shorts", 34, "5 inch/7 inch/with liner", "of quick-dry fabric with a key pocket"),
            ("running top", 37, "short sleeve/long sleeve/vest", "that breathes on hot days and hard intervals"),
            ("GPS sports watch", 260, "42 mm/46 mm/with music", "that records pace, distance and heart rate"),
            ("running belt", 24, "phone pocket/two flasks/reflective", "that carries keys and water without bouncing"),
            ("energy gels", 22, "box of 12/box of 24/with caffeine", "of fast carbohydrates for the last miles"),
            ("foam roller", 27, "smooth/ridged/travel", "that loosens sore calves and thighs after training"),
        ),
    ),
    Theme(
        "Cycling",
        ("Spokewell", "Velodane", "Gravelhund", "Chainmere", "Pedalfjord"),
        ("Commuter", "Col", "Peloton", "Backroad", "Night Rider", "Tourer"),
        ("Practical", "Dependable", "Commuter-friendly", "Low-maintenance", "Tour-tested"),
        ("For city streets and country lanes", "Made by people who ride to work", "Ready for rain and rough roads"),
        (
            ("gravel bike", 1150, "size S/size M/size L", "with disc brakes for tarmac and forest tracks"),
            ("bike helmet", 75, "size M/size L/with visor", "with vents and impact protection for cyclists"),
            ("bike lights", 36, "front and rear/USB/800 lumen", "that make riders seen in traffic at night"),
            ("bike lock", 49, "D-lock/chain/folding", "of hardened steel that stops thieves"),
            ("bike pump", 33, "floor/mini/with gauge", "that inflates tyres to pressure in a few strokes"),
            ("bike inner tubes", 12, "pack of 2/pack of 4/self-sealing", "for mending a puncture by the roadside"),
            (
                "bike multi-tool",
                23,
                "12 functions/18 functions/with chain breaker",
                "for fixing gears and brakes mid-ride",
            ),
            ("pannier bags", 82, "single/pair/roll-top", "that clip to the rack for shopping and touring"),
        ),
    ),
    Theme(
        "Car care",
        ("Glossmark", "Autoveil", "Shinewerk", "Detailmere", "Waxholme"),
        ("Showroom", "Mirror", "Concours", "Street", "Workshop", "Turbo"),
        ("Professional", "Easy-to-use", "Garage-tested", "Reliable", "Gentle"),
        ("For a showroom finish on the driveway", "Keeps a car looking new", "Used by valeting workshops"),
        (
            ("car shampoo", 12, "500 ml/1 litre/5 litre", "that foams away road grime from bodywork"),
            ("car wash mitt", 14, "microfibre/lambswool/double-sided", "that lifts grit without scratching paint"),
            ("car drying towel", 18, "60 x 90 cm/50 x 80 cm/pack of 2", "that soaks up water and leaves no spots"),
            ("clay bar kit", 24, "fine/medium/with lubricant", "that pulls tar and fallout from car paint"),
            ("car wax", 22, "paste/spray/ceramic", "that seals bodywork with a deep, glossy shine"),
            ("wheel cleaner", 15, "500 ml/1 litre/acid-free", "that dissolves brake dust on alloy rims"),
            ("car interior cleaner", 13, "fabric/leather/dashboard", "that freshens seats and plastics in the cabin"),
            ("car vacuum cleaner", 59, "12 volt/cordless/wet and dry", "that reaches crumbs between the car seats"),
        ),
    ),
)
"""All themes, in a ring: neighbours appeal to the same people, and tastes drift between them."""
