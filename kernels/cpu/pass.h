// What a pass computes and sees.
#pragma once

#include <vector>

#include "attention.h"

namespace worldmodel {

// A row of a pass: the input of a slot of a lane of a frame. tile: of the cache, where its key goes, at the slot's place
// among LANES; seen: how many of the entries that its share sees, LANES a tile, it may see; cosine, sine:
// (head_dim / 2,), how far it is turned.
struct Row {
  int frame, lane, slot, tile, seen;
  const float *cosine, *sine;
};
// Rows first..first + count - 1 of a pass, which see the same entries, each as far as it may.
struct Share {
  int first, count;
  std::vector<VisibleTile> seen;
};
// A token of a pass: of a frame, from the logits of a row, and those of the other lane `group` rows behind.
struct Drawn {
  int frame, row;
};
struct Pass {
  std::vector<Row> rows;  // those of the outros come first
  std::vector<Share> shares;
  std::vector<Drawn> drawn;
  int silent;  // rows without logits
  int group;   // slots of a lane
};

}  // namespace worldmodel
