"""Objectives of captioning: cross entropy of given captions, and the reward of drawn ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.loss import linear_cross_entropy
from seq2seq.decoding import Rollout, Sampling, greedy_search
from seq2seq.decoding.sampling import row_key
from seq2seq.layers.decoder_search import SearchState
from seq2seq.layers.evaluating import evaluating
from seq2seq.tasks.captioning.batches import BOS, IGNORE, pad_captions
from seq2seq.tasks.captioning.model import CaptioningModel, Encoded
from seq2seq.text.vocabulary import END, UNK
from seq2seq.training.sequence_rewards import mean_of_others, policy_gradient, sequence_losses

# (captions as ids, the end among them where they came to it; rows of the training set) -> rewards
Reward = Callable[[list[list[int]], list[int]], Tensor]


class CaptionLoss(nn.Module):
    """What cross-entropy training minimises, summed over the N captions of a batch:

        sum_n sum_t -log p(y_nt)
          + lambda sum_n sum_s (1 - sum_t a_nts)^2      every place is looked at (Xu et al. 2015,
                                                        eq. 14; over the words, not the padding)
          + word_loss * tokens_each * sum_b sum_v BCE(p_bv, sqrt(share_bv))

    The last term predicts from the image's mean vector which words its captions have: share_bv is
    the share of them with word v. It gives the encoder a gradient that need not pass through the
    decoder. ``tokens_each``: how many tokens a training step reads of an image, in the mean, so
    that a mean over tokens has this term with its weight.

    With ``scheduled_sampling`` a share of the inputs is what the model itself would have written
    (Bengio et al. 2015), drawn from a first pass over the given captions (two passes: Mihaylova &
    Martins 2019), a share that grows in a straight line over the epochs.
    """

    def __init__(
        self,
        model: CaptioningModel,
        label_smoothing: float = 0.0,
        attention_penalty: float = 0.0,
        word_loss: float = 0.0,
        scheduled_sampling: float = 0.0,
        tokens_each: float = 1.0,
    ) -> None:
        super().__init__()
        self.model, self.label_smoothing, self.tokens_each = model, label_smoothing, tokens_each
        self.attention_penalty, self.word_loss = attention_penalty, word_loss
        self.scheduled_sampling = scheduled_sampling

    def forward(
        self,
        source: Tensor,
        lengths: Tensor | None,
        rows: Tensor,
        inputs: Tensor,
        targets: Tensor,
        words: Tensor | None = None,
        progress: float = 0.0,
        words_alone: bool = False,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Fields of a CaptionBatch -> what is minimised, the cross entropy in it, and the other
        terms without their weights. With ``words_alone`` the last term is all there is, and
        reported, too."""
        encoded = self.model.encode(source, lengths)
        if words_alone:
            loss = self._word_loss(encoded, words)
            return self.word_loss * loss, loss.detach(), {"words": loss.detach()}
        return self.of_encoded(encoded, rows, inputs, targets, words, progress)

    def of_encoded(
        self,
        encoded: Encoded,
        rows: Tensor,
        inputs: Tensor,
        targets: Tensor,
        words: Tensor | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The same for images that are encoded already."""
        model = self.model
        if self.training and self.scheduled_sampling:
            inputs = self._own_words(encoded, rows, inputs, self.scheduled_sampling * progress)
        vectors, attention = model(encoded, rows, inputs)  # (N, T, A), (N, T, S)
        cross = linear_cross_entropy(
            vectors.flatten(0, 1),
            model.projection.weight,
            targets.flatten(),
            model.projection.bias,
            label_smoothing=self.label_smoothing if self.training else 0.0,
            reduction="sum",
        )
        loss, parts = cross, {}
        if self.training and self.attention_penalty:
            parts["attention"] = penalty(attention, targets, encoded, rows)
            loss = loss + self.attention_penalty * parts["attention"]
        if self.training and self.word_loss:
            parts["words"] = self._word_loss(encoded, words)
            loss = loss + self.word_loss * parts["words"]
        return loss, cross.detach(), {name: part.detach() for name, part in parts.items()}

    def _word_loss(self, encoded: Encoded, words: Tensor | None) -> Tensor:
        assert words is not None  # batches have them wherever this term has a weight
        logits = self.model.predict_words(encoded).float()  # (B, W)
        total = F.binary_cross_entropy_with_logits(logits, words.sqrt(), reduction="sum")
        return self.tokens_each * total

    @torch.no_grad()
    def _own_words(self, encoded: Encoded, rows: Tensor, inputs: Tensor, share: float) -> Tensor:
        """inputs (N, T) of which a share is drawn from what the model says comes there."""
        vectors, _ = self.model(encoded, rows, inputs)
        logits = self.model.projection(vectors).float()  # (N, T, V)
        noise = torch.empty_like(logits).exponential_().log_()
        drawn = (logits - noise).argmax(2)  # (N, T): argmax of logits + Gumbel noise
        own = torch.cat([inputs[:, :1], drawn[:, :-1]], 1)
        chosen = torch.rand(inputs.shape, device=inputs.device) < share
        return torch.where(chosen, own, inputs)


def penalty(attention: Tensor, targets: Tensor, encoded: Encoded, rows: Tensor) -> Tensor:
    """sum_n sum_s (1 - sum_t a_nts)^2 over real steps and places; attention (N, T, S)."""
    seen = (attention * (targets != IGNORE).unsqueeze(2)).sum(1)  # (N, S)
    missing = (1 - seen).square()
    if encoded.lengths is not None:
        places = torch.arange(seen.shape[1], device=seen.device)
        missing = missing * (places < encoded.lengths[rows].unsqueeze(1))
    return missing.sum()


class SelfCritical(nn.Module):
    """Self-critical sequence training (Rennie et al. 2017, eq. 5-7): captions are drawn from the
    model, and those of more reward than a baseline become likelier,

        loss = sum_n -(r(y_n) - b_n) log p(y_n),      y_n drawn from p = softmax(logits / t)

    with K captions for each image. A temperature t below 1 draws captions nearer to those that
    search finds: a model trained on smoothed labels is flat, and what it draws scores far below. b
    is the reward of the image's greedy caption, or the mean of its other K - 1 captions (Luo
    2020). Dropout and batch statistics are off throughout: captions are drawn from the model whose
    gradient is taken. An image is encoded once for all of it.
    """

    def __init__(
        self,
        model: CaptioningModel,
        reward: Reward,
        samples: int,
        temperature: float,
        baseline: str,
        max_length: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.reward, self.samples = model, reward, samples
        self.temperature = temperature
        self.baseline, self.max_length, self.seed = baseline, max_length, seed

    def forward(
        self, source: Tensor, lengths: Tensor | None, images: Tensor, number: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Images, their rows in the training set, epoch and number of the batch -> what is
        minimised, and minus the rewards of the drawn captions; both summed over B * K captions."""
        with evaluating(self.model):
            encoded = self.model.encode(source, lengths)
            indices = images.tolist()
            drawn, finished = self._draw(encoded, indices, number)
            rows = torch.arange(len(indices)).repeat_interleave(self.samples)  # (N,)
            ended = [ids + [END] * whole for ids, whole in zip(drawn, finished, strict=True)]
            rewards = self.reward(ended, [indices[row] for row in rows.tolist()])  # (N,)
            advantage = rewards - self._baselines(encoded, indices, rewards)
            inputs, targets = pad_captions(drawn)
            for row, (ids, whole) in enumerate(zip(drawn, finished, strict=True)):
                if not whole:  # its end was not drawn
                    targets[row, len(ids)] = IGNORE
            device = encoded.values.device
            inputs, targets, rows = inputs.to(device), targets.to(device), rows.to(device)
            vectors, _ = self.model(encoded, rows, inputs)
            losses = sequence_losses(vectors, self.model.projection, targets, self.temperature)
        return policy_gradient(losses, advantage), -rewards.sum()

    def _baselines(self, encoded: Encoded, indices: list[int], rewards: Tensor) -> Tensor:
        """(N,)"""
        if self.baseline == "samples":
            return mean_of_others(rewards.view(len(indices), self.samples)).flatten()
        with torch.no_grad():
            state = self.model.start(encoded)
        found = greedy_search(
            self.model,
            state,
            sources=len(indices),
            max_lengths=torch.full((len(indices),), self.max_length, device=state.rows.device),
            bos=BOS,
            eos=END,
            pad=UNK,
        )
        greedy = self.reward([one.tokens + [END] * one.finished for one in found], indices)
        return greedy.repeat_interleave(self.samples)

    @torch.no_grad()
    def _draw(
        self, encoded: Encoded, indices: list[int], number: tuple[int, int]
    ) -> tuple[list[list[int]], list[bool]]:
        """K captions for each image, as ids without the end, and whether they came to it."""
        count = len(indices) * self.samples
        state: SearchState = self.model.start(encoded)
        rows = torch.arange(len(indices), device=state.rows.device)
        state = self.model.reorder(state, rows.repeat_interleave(self.samples))
        first = torch.full((count,), BOS, device=rows.device)
        logits, state = self.model.step(first, state)
        prompts = [(*number, index) for index in indices for _ in range(self.samples)]
        keys = [row_key(self.seed, n % self.samples, p) for n, p in enumerate(prompts)]
        rollout = Rollout(self.model, state, logits, prompts, keys, Sampling(self.temperature))
        drawn: list[list[int]] = [[] for _ in range(count)]
        finished, live = [False] * count, list(range(count))
        for _ in range(self.max_length + 1):
            tokens = rollout.step().tolist()
            kept = []
            for position, (row, token) in enumerate(zip(live, tokens, strict=True)):
                if token == END:
                    finished[row] = True
                elif len(drawn[row]) < self.max_length:
                    drawn[row].append(token)
                    kept.append(position)
            if not kept:
                break
            if len(kept) < len(live):
                rollout.keep(kept)
                live = [live[position] for position in kept]
        return drawn, finished
