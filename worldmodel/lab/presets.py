"""The presets: one row a published idea, over the parts of this package. `about` says which paper, what is kept, and
what is left out and why; `reading` marks those that are a reading of a paper for a game, not the paper."""

from __future__ import annotations

from kernels.sampling import Sampler
from worldmodel.config import TransformerConfig
from worldmodel.lab.autoencoder import TokenizerParts
from worldmodel.lab.blocks import Blocks
from worldmodel.lab.budget import Objectives
from worldmodel.lab.codes import SubCode, fsq, vq
from worldmodel.lab.packing import Packing
from worldmodel.lab.scores import STILL
from worldmodel.lab.variant import Variant
from worldmodel.types import WorldModelError

BASELINE = "baseline"
LONG = tuple(range(1, 9))  # offsets of a context whose old frames are told in short

PRESETS: dict[str, Variant] = {
    BASELINE: Variant(
        """MineWorld (2504.08388) as nano has it: one token for 16x16 pixels, 84 a frame, one softmax of 4096,
        diagonal decoding. FSQ (2309.15505) in place of its VQ, and no pretrained tokenizer: none can be had here."""
    ),
    "unperturbed": Variant(
        """VTBench's question (2505.13439), what do reconstruction and detail alone say: the baseline without any
        wrong token in training. Its columns are taken, its web pictures and GPT judge are not.""",
        objectives=Objectives(perturb="none"),
    ),
    "robusttok": Variant(
        """RobustTok (2503.08354): wrong tokens in training, ramped in, after the quantiser. Drawn from a prior that
        is trained along: near codes are not the mistakes that a model makes. No DINO in its encoder.""",
        objectives=Objectives(perturb="prior"),
    ),
    "robusttok-half": Variant(
        """As robusttok, with half of the tokens wrong on a quarter of the frames: their alpha is 1, annealed away.""",
        objectives=Objectives(perturb="prior", perturb_rate=0.5),
    ),
    "parti": Variant(
        """ViT-VQGAN's codes as in Parti (2206.10789): 4096 learned codes of 8 numbers on the unit sphere, EMA, dead
        ones revived. Convolutions in place of its ViT, no discriminator: 600 steps are too few for one.""",
        tokenizer=TokenizerParts(codes=(vq(4096, 8),)),
    ),
    "vitok-encoder-small": Variant(
        """ViTok (2501.09755): a quarter of the encoder; they find that its size gains nothing. No ViT here.""",
        tokenizer=TokenizerParts(encoder_channels=(64, 128), encoder_blocks=(1, 1)),
    ),
    "vitok-encoder-large": Variant(
        """ViTok (2501.09755): twice the encoder. Convolutions, no ViT.""",
        tokenizer=TokenizerParts(encoder_channels=(192, 384), encoder_blocks=(2, 2)),
    ),
    "vitok-decoder-small": Variant(
        """ViTok (2501.09755): a quarter of the decoder; they find that its size gains a little.""",
        tokenizer=TokenizerParts(decoder_channels=(128, 64), decoder_blocks=(3, 1)),
    ),
    "vitok-decoder-large": Variant(
        """ViTok (2501.09755): twice the decoder. Convolutions, no ViT.""",
        tokenizer=TokenizerParts(decoder_channels=(384, 192), decoder_blocks=(4, 2)),
    ),
    "vitok-10-bits": Variant(
        """ViTok (2501.09755): the bits of a frame decide; also ELM's (2410.16257) small vocabulary: 1024 codes.""",
        tokenizer=TokenizerParts(codes=fsq(4, 4, 8, 8)),
    ),
    "vitok-14-bits": Variant(
        """ViTok (2501.09755), ELM's (2410.16257) large vocabulary: 16384 codes in one softmax.""",
        tokenizer=TokenizerParts(codes=fsq(8, 8, 16, 16)),
    ),
    "elm-greedy": Variant(
        """ELM (2410.16257): image tokens are more random than text, so sampling decides. The baseline's weights,
        always the likeliest code. Its classifier-free guidance is left out: it needs a second lane.""",
        sampler=Sampler(temperature=0.0, top_p=1.0),
    ),
    "elm-all": Variant(
        """ELM (2410.16257): the baseline's weights, drawn from the whole distribution.""",
        sampler=Sampler(temperature=1.0, top_p=1.0),
    ),
    "elm-top-k": Variant(
        """ELM (2410.16257): the baseline's weights, the 64 likeliest codes at temperature 0.9.""",
        sampler=Sampler(temperature=0.9, top_k=64, top_p=1.0),
    ),
    "xar": Variant(
        """xAR (2502.20388): learning from noisy contexts, each frame told how noisy it is, so that play can say "not
        at all". Near codes in place of its Gaussian noise, and not its sampler of 40 to 50 steps.""",
        noise_told=True,
        reading=True,
    ),
    "beyond-words": Variant(
        """Beyond Words (2503.20198): text must be in the tokenizer's training to survive it. Digits of 3 to 10 pixels
        pasted on a third of the frames, weighing as much as the HUD. No text encoder and no OCR loss.""",
        objectives=Objectives(glyphs=0.33),
        reading=True,
    ),
    "two-levels": Variant(
        """Lookup-free codes as FSQ with two levels (MAGVIT-2, 2310.05737): 12 signs, without its entropy term.""",
        tokenizer=TokenizerParts(codes=fsq(*[2] * 12)),
    ),
    "detail": Variant(
        """A residual code of 8 bits beside the 12 (RQ-VAE, 2203.01941), predicted in the same pass by a chained head.
        Side by side for the decoder, not summed; no depth transformer: two softmaxes.""",
        tokenizer=TokenizerParts(codes=(*fsq(8, 8, 8, 8), *fsq(4, 4, 4, 4)), compose="residual"),
        head="chained",
    ),
    "fqgan": Variant(
        """FQGAN (2411.16681): two codebooks of 1024 that look at latents of their own, kept orthogonal, two heads.
        The second is chained to the first. No CLIP or DINO to tell them what to look at, no discriminator.""",
        tokenizer=TokenizerParts(codes=(vq(1024, 8), vq(1024, 8)), orthogonal=0.1),
        head="chained",
    ),
    "previous": Variant(
        """TexTok (2412.05796), OmniTokenizer (2406.09399) and PVC (2412.09613), read for a game: the decoder also
        sees the last frame's codes and the action, dropped for 20% of the frames. The encoder sees one frame, so
        that a token never depends on a past that play has made otherwise.""",
        tokenizer=TokenizerParts(previous=True),
        reading=True,
    ),
    "previous-detail": Variant(
        """`previous` and `detail` together: what the last frame cannot tell, in 20 bits a place.""",
        tokenizer=TokenizerParts(codes=(*fsq(8, 8, 8, 8), *fsq(4, 4, 4, 4)), compose="residual", previous=True),
        head="chained",
        reading=True,
    ),
    "larp": Variant(
        """LARP (2410.21264): a prior trained along, whose loss (weight 0.06) the encoder feels through the prior's
        inputs. A grid, not queries; no stochastic codes, no scheduled sampling, no second phase for the decoder.""",
        objectives=Objectives(prior_weight=0.06),
    ),
    "gigatok": Variant(
        """GigaTok (2504.08736): the decoder's features are aligned (weight 0.5) with a network that understands: here
        the inverse dynamics model's map, in place of DINOv2. Not its size: a game's decoder must be quick.""",
        objectives=Objectives(align=0.5),
        reading=True,
    ),
    "larp-gigatok": Variant(
        """`larp` and `gigatok` together, with wrong tokens drawn from the same prior.""",
        objectives=Objectives(perturb="prior", prior_weight=0.06, align=0.5),
        reading=True,
    ),
    "bsq": Variant(
        """BSQ (2406.07548) with the bit heads of Instella-T2I (2506.21022) and Binary Latent Diffusion (2304.04820):
        16 signs on a sphere, all predicted at once. Their diffusion over bits is left out: it takes many passes.""",
        tokenizer=TokenizerParts(codes=(SubCode(bits=16),)),
        head="bits",
    ),
    "titok": Variant(
        """TiTok (2406.07550): 84 tokens of no place, read by learned queries. One phase, no proxy codes.""",
        tokenizer=TokenizerParts(queries=84, grid=False),
    ),
    "one-d-piece": Variant(
        """One-D-Piece (2501.10064), FlexTok (2502.13967): as titok, the tail dropped in training, so that the first
        tokens say most. FlexTok's flow decoder is left out: many passes.""",
        tokenizer=TokenizerParts(queries=84, grid=False, tail_drop=True),
    ),
    "seed": Variant(
        """SEED (2307.08041): queries that see those before them alone. No contrastive stage: there is no text.""",
        tokenizer=TokenizerParts(queries=84, grid=False, causal=True),
    ),
    "d-ar": Variant(
        """D-AR (2505.23660): causal queries from coarse to fine, so that a half-decoded frame can be shown (the columns
        of tokens kept). By a dropped tail, in place of its diffusion decoder.""",
        tokenizer=TokenizerParts(queries=84, grid=False, causal=True, tail_drop=True),
        reading=True,
    ),
    "tokenbridge": Variant(
        """TokenBridge (2503.16430): trained without quantising, each number rounded afterwards, to the baseline's
        levels. The bounded latents in place of a VAE's, and no head a dimension.""",
        tokenizer=TokenizerParts(codes=(SubCode(levels=(8, 8, 8, 8), late=True),)),
        objectives=Objectives(perturb="none"),
    ),
    "dualtoken": Variant(
        """DualToken (2503.14324): one half of a code for meaning, aligned with the reader's features, one for pixels;
        as many bits as the baseline. The halves are sub-codes of one layer, not of two depths of its encoder.""",
        tokenizer=TokenizerParts(codes=(*fsq(4, 4, 4), *fsq(4, 4, 4))),
        objectives=Objectives(align=0.5, align_code=3),
        reading=True,
    ),
    "tokenflow": Variant(
        """TokenFlow (2412.03069): one index for two distances: 4096 learned codes of eight numbers, the first four
        aligned with the reader's features. One encoder in place of two.""",
        tokenizer=TokenizerParts(codes=(vq(4096, 8),)),
        objectives=Objectives(align=0.5, align_code=4),
        reading=True,
    ),
    "hita": Variant(
        """Hita (2507.02358): twelve global tokens, not 128, before the grid's; no causal decoder.""",
        tokenizer=TokenizerParts(queries=12),
    ),
    "next-scale": Variant(
        """VAR (2404.02905) and FlowAR (2412.15205): maps of 2x6 and 4x6 before that of 7x12. Read from one feature
        map, not as residuals, the finer ones dropped in training so that the coarse ones say what is coarse.""",
        tokenizer=TokenizerParts(scales=((2, 6), (4, 6)), tail_drop=True),
        reading=True,
    ),
    "far-8": Variant(
        """ENAT (2411.06959) and Phenaki (2210.02399): eight passes over groups that lie far apart, each decoded token
        fed again as a content row (LPD, 2507.01957). Groups are fixed and alike in size: the order is trained, so no
        mask schedule, no confidence, and no token is ever encoded as missing.""",
        blocks=Blocks(order="far-8"),
    ),
    "far-4": Variant(
        """As far-8, in four passes: where do groups become too large to be drawn at once?""",
        blocks=Blocks(order="far-4"),
    ),
    "far-8-evaluator": Variant(
        """ITER (2312.05616), read for an order: a judge learns which tokens are not the true ones, from the
        model's own draws, and has the eight that it doubts most drawn again, the others kept. It judges all but the
        last group, and what is drawn again sees the groups before it alone: one more round of eight passes.""",
        blocks=Blocks(order="far-8", redo=8),
        reading=True,
    ),
    "token-shuffle": Variant(
        """Token-Shuffle (2504.17789): two tokens beside each other are one position, 42 a frame, predicted by a chained
        head. Fused by adding their embeddings, without its MLP blocks.""",
        packing=Packing(fuse=2),
    ),
    "offsets": Variant(
        """nano's context: frames 1, 2, 3, 5 and 8 back in place of the last five, as WorldMem (2504.12369) finds far
        frames worth more than near ones. 13, 21 and 34 do not fit into clips of twelve frames.""",
        transformer=TransformerConfig(offsets=(1, 2, 3, 5, 8)),
    ),
    "last-8": Variant(
        """The last eight frames whole: what more context alone is worth, at 1.5 times the keys.""",
        transformer=TransformerConfig(offsets=LONG),
    ),
    "summary-12": Variant(
        """M3 (2405.17430) and STViT (2303.08685): eight frames, those more than two back as twelve summary rows that a
        block ends with. Learned by the prediction alone: no nested sizes, no recovery of the tokens.""",
        transformer=TransformerConfig(offsets=LONG),
        blocks=Blocks(old="summary", rows=12),
        reading=True,
    ),
    "lattice": Variant(
        """Expediting ViT's question (2210.01035), must all old rows be seen: every other place, no clustering.""",
        transformer=TransformerConfig(offsets=LONG),
        blocks=Blocks(old="lattice"),
        reading=True,
    ),
    "divprune": Variant(
        """DivPrune (2503.02175), and the diversity half of ToDRE (2505.18757): 24 tokens of each frame more than two
        back, each as far as can be from those chosen before. Trained with, not cut off afterwards.""",
        transformer=TransformerConfig(offsets=LONG),
        blocks=Blocks(old="diverse", rows=24),
    ),
    "changed-rows": Variant(
        """Sparse VideoGen2 (2505.18875), read for a game: of frames more than two back, the rows whose token had
        changed are seen. By the codes themselves, in place of its clusters of keys.""",
        transformer=TransformerConfig(offsets=LONG),
        blocks=Blocks(old="changed"),
        reading=True,
    ),
    "tokenflex": Variant(
        """TokenFLEX (2504.03154): trained with any number of context frames, so that one model serves all, and the
        first frames of play are nothing new. Frames in place of its tokens a picture.""",
        blocks=Blocks(any_length=True),
        reading=True,
    ),
    "digit-head": Variant(
        """TokenBridge's head (2503.16430): each number of a code on its own, one after another, eight outputs in place
        of 4096, and read so, too. The tokens are the baseline's.""",
        world_head="digits",
    ),
    "twice-as-long": Variant(
        """The baseline's world model with as many steps again: the control of `action-rows`.""",
        tuned="all",
    ),
    "action-rows": Variant(
        """Discriminative Class Tokens (2303.17155): after the baseline's training nothing learns but the embeddings of
        the action tokens, in as many steps again. By the prediction's own loss, in place of a classifier's.""",
        tuned="actions",
        reading=True,
    ),
    "ett": Variant(
        """ETT (2505.10562): the transformer is fed the codes' vectors, too. The tokenizer is not tuned along.""",
        fed_codes=True,
    ),
    "lavit": Variant(
        """LaVIT's dynamic tokens (2309.04669): new tokens only where something changed. A place keeps its code while
        its picture hardly does, in place of a learned selector; the number of tokens stays.""",
        packing=Packing(still=STILL),
        reading=True,
    ),
    "state-tokens": Variant(
        """4M-21 (2406.09406): other modalities as tokens beside the picture's. Pitch, light and hotbar slot come first
        in a frame; its bits count theirs. Three of what a game knows, in place of 21.""",
        packing=Packing(states=("pitch", "light", "slot")),
    ),
    "outline-first": Variant(
        """HiMTok (2503.13026): the rough shape before the fine one. The light of twelve cells as tokens that come first
        in a frame; its bits count theirs. No learned masks.""",
        packing=Packing(states=("outline",)),
        reading=True,
    ),
}


def preset(name: str) -> Variant:
    """WorldModelError for an unknown name."""
    if name not in PRESETS:
        raise WorldModelError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return PRESETS[name]
