// A transformer's pass over the next tokens of many rows, and the draw of a token from its logits.
//
// Called through ctypes: plain structs of pointers and 64-bit integers, mirrored in library.py.
// Everything happens in one parallel region; no output depends on the number of threads.

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

#include "attention.h"
#include "linear.h"
#include "trunk.h"
#include "vectors.h"

extern "C" {

struct Norm {
    const float *weight, *bias;  // bias: null for RMS norm; weight null: no norm at all
    double epsilon;
};

struct Layer {
    Norm before_attention, before_mlp, query, key;
    Linear qkv, out, up, down;
    int64_t is_rotary;
};

struct Model {
    int64_t width, heads, key_heads, head_width, mlp_width, num_layers, vocabulary;
    int64_t is_gated;  // SwiGLU: up gives gate and up; else GELU (tanh form)
    int64_t is_int8;   // keys and values are kept as Byte, else as float
    double attention_scale;
    const float *embedding, *positions, *cosines, *sines;
    const Layer *layers;
    Norm final;
    Linear head;
};

// One token to feed in each entry. A region holds keys, then values, of every layer and head.
struct Tokens {
    int64_t count, num_logits;
    const int64_t *token, *position;
    const int64_t *own, *own_capacity;                    // region of the row's own positions
    const int64_t *prefix, *prefix_capacity, *num_prefix;  // shared region before them, or 0
    const int64_t *logits_of;                             // entries whose logits are wanted
};

struct Source {
    const float *data;
    int64_t columns, column_stride, depth_stride;
};
}

namespace {

// The threads of one pass. Who waits spins for some microseconds, then offers its core to others: on a
// machine that is shared, the thread waited for may need it.
class Team {
  public:
    explicit Team(int64_t size) : size(size) {}

    const int64_t size;

    void wait() {
        const int64_t round = rounds.load(std::memory_order_acquire);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            arrived.store(0, std::memory_order_relaxed);
            next_item.store(0, std::memory_order_relaxed);
            rounds.store(round + 1, std::memory_order_release);
            return;
        }
        for (int64_t spins = 0; rounds.load(std::memory_order_acquire) == round; ++spins)
            if (spins > 20000) sched_yield();
    }

    // Items [0, count) in equal shares, and everyone waits for the last.
    template <typename Work> void each(int64_t me, int64_t count, Work work) {
        for (int64_t i = count * me / size; i < count * (me + 1) / size; ++i) work(i);
        wait();
    }

    // The same, whoever is free takes the next.
    template <typename Work> void each_in_turn(int64_t count, Work work) {
        for (int64_t i; (i = next_item.fetch_add(1, std::memory_order_relaxed)) < count;) work(i);
        wait();
    }

  private:
    std::atomic<int64_t> arrived{0}, rounds{0}, next_item{0};
};

struct Scratch {
    std::vector<float> x, normed, qkv, attended, mlp, low, scale;
    std::vector<uint8_t> bytes;
};

template <typename Kept> struct Region {
    const Model &m;
    Kept *base;
    int64_t capacity;

    int64_t padded() const { return padded_to_lanes(m.head_width); }
    int64_t to_block(int64_t position) const { return position / LANES * block_size<Kept>(padded()); }
    Kept *keys(int64_t layer, int64_t head, int64_t position) const {
        return base + (layer * m.key_heads + head) * to_block(capacity) + to_block(position);
    }
    Kept *values(int64_t layer, int64_t head, int64_t position) const {
        return keys(layer, head, position) + m.num_layers * m.key_heads * to_block(capacity);
    }
    Segment<Kept> segment(int64_t layer, int64_t head, int64_t from, int64_t to) const {
        return {keys(layer, head, from), values(layer, head, from), to - from};
    }
};

// Numbers of one head and position, zeros up to whole vectors after them: in `block` from `first` on,
// `step` apart. What is not finite poisons a scale.
template <typename Kept>
void keep(const float *from, int64_t width, Kept *block, int64_t lane, int64_t first, int64_t step) {
    float inverse = 1;
    if constexpr (IS_SCALED<Kept>) {
        Floats most = {}, poison = {};
        by_vectors(0, width, [&](int64_t d, int64_t n) {
            const Floats value = load_some(from + d, n), size = magnitude(value);
            most = select(size > most, size, most);
            poison += value * 0.0f;
        });
        const float top = largest(most);
        inverse = top > 0 ? 127.0f / top : 0.0f;
        scales_of(block, padded_to_lanes(width))[lane] = top / 127.0f + sum(poison);
    }
    Kept part[LANES];
    by_vectors(0, width, [&](int64_t d, int64_t n) {
        const Floats value = load_some(from + d, n);
        store(part, IS_SCALED<Kept> ? value * inverse : value);
        for (int64_t i = 0; i < LANES; ++i) block[first + (d + i) * step] = part[i];
    });
}

void normalise(const Norm &norm, const float *x, int64_t width, float *out) {
    float centre = 0;
    if (norm.bias)
        centre = sum_over(width, [&](int64_t i, auto kind) { return at<decltype(kind)>(x, i); }) / width;
    const float squares = sum_over(width, [&](int64_t i, auto kind) {
        const auto value = at<decltype(kind)>(x, i) - centre;
        return value * value;
    });
    const float factor = (float)(1.0 / std::sqrt((double)squares / width + norm.epsilon));
    for (int64_t i = 0; i < width; ++i) out[i] = (x[i] - centre) * factor * norm.weight[i];
    if (norm.bias)
        for (int64_t i = 0; i < width; ++i) out[i] += norm.bias[i];
}

void rotate(float *head, const float *cosine, const float *sine, int64_t width) {
    const int64_t half = width / 2;
    for (int64_t i = 0; i < half; ++i) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i + half] + a * sine[i + half];
    }
}

// Out of [gate | up] of one row: SiLU(gate) * up, or the tanh form of GELU; in place.
void activate(float *row, int64_t width, bool is_gated) {
    int64_t i = 0;
    float in[LANES], with[LANES];
    for (; i < width; i += LANES) {
        const int64_t n = std::min<int64_t>(LANES, width - i);
        Floats a = {}, b = {};
        if (n == LANES) {
            a = load(row + i);
            if (is_gated) b = load(row + width + i);
        } else {
            std::memset(in, 0, sizeof in);
            std::memset(with, 0, sizeof with);
            std::memcpy(in, row + i, n * sizeof(float));
            if (is_gated) std::memcpy(with, row + width + i, n * sizeof(float));
            a = load(in), b = load(with);
        }
        const Floats inner = 1.5957691216057308f * (a + 0.044715f * a * a * a);
        const Floats out = is_gated ? a * sigmoid(a) * b : a * sigmoid(inner);
        if (n == LANES) {
            store(row + i, out);
        } else {
            store(in, out);
            std::memcpy(row + i, in, n * sizeof(float));
        }
    }
}

template <typename Kept> class Pass {
  public:
    Pass(const Model &model, const Tokens &tokens, float *logits, Scratch &scratch)
        : m(model), t(tokens), logits(logits), s(scratch),
          q_width(m.heads * m.head_width), kv_width(m.key_heads * m.head_width),
          up_width(m.is_gated ? 2 * m.mlp_width : m.mlp_width),
          byte_stride(ceil_div(std::max({m.width, q_width, m.mlp_width}), GROUP) * GROUP) {
        int64_t rank = m.head.rank;
        for (int64_t i = 0; i < m.num_layers; ++i)
            for (const Linear *l : {&m.layers[i].qkv, &m.layers[i].out, &m.layers[i].up, &m.layers[i].down})
                rank = std::max(rank, l->rank);
        s.x.resize(t.count * m.width);
        s.normed.resize(t.count * m.width);
        s.qkv.resize(t.count * (q_width + 2 * kv_width));
        s.attended.resize(t.count * q_width);
        s.mlp.resize(t.count * std::max(up_width, m.width));
        s.low.resize(t.count * rank);
        s.scale.resize(t.count * byte_stride / GROUP);
        s.bytes.resize(t.count * byte_stride);
        tile();
    }

    void run(Team &team, int64_t me) {  // by every thread of the team
        std::vector<float> queries, mixed_out, buffer;
        team.each(me, t.count, [&](int64_t i) { embed(i); });
        for (int64_t n = 0; n < m.num_layers; ++n) {
            const Layer &layer = m.layers[n];
            prepare(team, me, layer.before_attention, layer.qkv, s.x.data(), m.width, t.count);
            apply(team, me, layer.qkv, s.normed.data(), m.width, t.count, s.qkv.data(),
                  layer.qkv.columns, false);
            team.each(me, t.count, [&](int64_t i) { remember(n, layer, i); });
            team.each_in_turn((int64_t)tiles.size() * m.key_heads, [&](int64_t u) {
                attention(n, tiles[u / m.key_heads], u % m.key_heads, queries, mixed_out, buffer);
            });
            prepare(team, me, {}, layer.out, s.attended.data(), q_width, t.count);
            apply(team, me, layer.out, s.attended.data(), q_width, t.count, s.x.data(), m.width, true);
            prepare(team, me, layer.before_mlp, layer.up, s.x.data(), m.width, t.count);
            apply(team, me, layer.up, s.normed.data(), m.width, t.count, s.mlp.data(), up_width, false);
            team.each(me, t.count, [&](int64_t i) {
                activate(s.mlp.data() + i * up_width, m.mlp_width, m.is_gated);
            });
            prepare(team, me, {}, layer.down, s.mlp.data(), up_width, t.count);
            apply(team, me, layer.down, s.mlp.data(), up_width, t.count, s.x.data(), m.width, true);
        }
        team.each(me, t.num_logits, [&](int64_t i) {
            std::memcpy(s.mlp.data() + i * m.width, s.x.data() + t.logits_of[i] * m.width,
                        m.width * sizeof(float));
        });
        prepare(team, me, m.final, m.head, s.mlp.data(), m.width, t.num_logits);
        apply(team, me, m.head, s.normed.data(), m.width, t.num_logits, logits, m.vocabulary, false);
    }

  private:
    struct Tile {
        int64_t first, count;
        bool is_chunk;  // successive tokens of one row; else rows with the same prefix
    };

    const Model &m;
    const Tokens &t;
    float *logits;
    Scratch &s;
    int64_t q_width, kv_width, up_width, byte_stride;
    std::vector<Tile> tiles;

    // Tokens that are looked at together: of one row, or of rows whose prefix is the same.
    void tile() {
        for (int64_t i = 0; i < t.count;) {
            int64_t j = i + 1;
            const bool is_chunk = j < t.count && t.own[j] == t.own[i];
            const auto joins = [&](int64_t k) {
                if (is_chunk) return t.own[k] == t.own[i];
                return t.prefix[i] && t.prefix[k] == t.prefix[i] && t.own[k] != t.own[k - 1] &&
                       !(k + 1 < t.count && t.own[k + 1] == t.own[k]);
            };
            while (j < t.count && j - i < QUERIES && joins(j)) ++j;
            tiles.push_back({i, j - i, is_chunk});
            i = j;
        }
    }

    void embed(int64_t i) {
        float *x = s.x.data() + i * m.width;
        std::memcpy(x, m.embedding + t.token[i] * m.width, m.width * sizeof(float));
        if (m.positions)
            for (int64_t d = 0; d < m.width; ++d) x[d] += m.positions[t.position[i] * m.width + d];
    }

    // What a linear layer reads: normed, in int8 if that is how it computes, and through its low rank.
    void prepare(Team &team, int64_t me, const Norm &norm, const Linear &l, const float *x,
                 int64_t stride, int64_t rows) {
        if (!norm.weight && !l.scale && !l.rank) return;
        team.each(me, rows, [&](int64_t i) {
            const float *row = x + i * stride;
            if (norm.weight) {
                normalise(norm, row, m.width, s.normed.data() + i * m.width);
                row = s.normed.data() + i * m.width;
            }
            if (l.scale)
                quantise_row(row, l.depth, s.bytes.data() + i * byte_stride,
                             &s.scale[i * ceil_div(l.depth, GROUP)]);
            if (l.rank)
                panels_fp32(row, stride, 1, l.down, nullptr, l.rank, l.depth, s.low.data() + i * l.rank,
                            l.rank, false, 0, ceil_div(l.rank, TILE_COLUMNS));
        });
    }

    // Each thread its share of the panels.
    void apply(Team &team, int64_t me, const Linear &l, const float *x, int64_t stride, int64_t rows,
               float *y, int64_t y_stride, bool add) {
        const int64_t panels = ceil_div(l.columns, TILE_COLUMNS);
        const int64_t first = panels * me / team.size, last = panels * (me + 1) / team.size;
#if HAS_INT8
        if (l.scale)
            panels_int8(s.bytes.data(), byte_stride, s.scale.data(), rows, l, y, y_stride, add, first,
                        last);
        else
#endif
            panels_fp32(x, stride, rows, (const float *)l.weight, l.bias, l.columns, l.depth, y,
                        y_stride, add, first, last);
        if (l.rank)
            panels_fp32(s.low.data(), l.rank, rows, l.up, nullptr, l.columns, l.rank, y, y_stride, true,
                        first, last);
        team.wait();
    }

    // Norm and rotation of queries and keys; keys and values go to the row's region.
    void remember(int64_t n, const Layer &layer, int64_t i) {
        const int64_t width = m.head_width, padded = padded_to_lanes(width), position = t.position[i];
        float *row = s.qkv.data() + i * (q_width + 2 * kv_width);
        for (int64_t h = 0; h < m.heads + m.key_heads; ++h) {
            float *head = row + h * width;
            const Norm &norm = h < m.heads ? layer.query : layer.key;
            if (norm.weight) normalise(norm, head, width, head);
            if (layer.is_rotary)
                rotate(head, m.cosines + position * width, m.sines + position * width, width);
        }
        const Region<Kept> region{m, (Kept *)t.own[i], t.own_capacity[i]};
        const int64_t at = position - t.num_prefix[i];
        for (int64_t h = 0; h < m.key_heads; ++h) {
            const float *key = row + q_width + h * width, *value = key + kv_width;
            const int64_t lane = at % LANES;
            keep(key, width, region.keys(n, h, at), lane, lane, LANES);
            keep(value, width, region.values(n, h, at), lane, lane * padded, 1);
        }
        for (int64_t d = 0; d < q_width; ++d) row[d] *= (float)m.attention_scale;
    }

    void attention(int64_t n, const Tile &tile, int64_t head, std::vector<float> &queries,
                   std::vector<float> &out, std::vector<float> &buffer) {
        const int64_t width = m.head_width, padded = padded_to_lanes(width);
        const int64_t per_row = m.heads / m.key_heads, first = tile.first;
        queries.assign(tile.count * per_row * padded, 0.0f);
        out.resize(tile.count * per_row * padded);
        for (int64_t r = 0; r < tile.count; ++r)
            for (int64_t h = 0; h < per_row; ++h)
                std::memcpy(&queries[(r * per_row + h) * padded],
                            s.qkv.data() + (first + r) * (q_width + 2 * kv_width) +
                                (head * per_row + h) * width,
                            width * sizeof(float));
        Segment<Kept> common[2], own[QUERIES];
        int64_t num_common = 0;
        if (t.prefix[first] && t.num_prefix[first])
            common[num_common++] =
                Region<Kept>{m, (Kept *)t.prefix[first], t.prefix_capacity[first]}.segment(
                    n, head, 0, t.num_prefix[first]);
        int64_t from = 0;
        if (tile.is_chunk) {  // whole blocks that even the first of these tokens may see
            from = (t.position[first] - t.num_prefix[first] + 1) / LANES * LANES;
            const Region<Kept> region{m, (Kept *)t.own[first], t.own_capacity[first]};
            if (from) common[num_common++] = region.segment(n, head, 0, from);
        }
        for (int64_t r = 0; r < tile.count; ++r) {
            const int64_t i = first + r, to = t.position[i] - t.num_prefix[i] + 1;
            own[r] = Region<Kept>{m, (Kept *)t.own[i], t.own_capacity[i]}.segment(n, head, from, to);
        }
        attend(queries.data(), tile.count, per_row, width, padded, common, num_common, own, out.data(),
               buffer);
        for (int64_t r = 0; r < tile.count; ++r)
            for (int64_t h = 0; h < per_row; ++h)
                std::memcpy(s.attended.data() + (first + r) * q_width + (head * per_row + h) * width,
                            &out[(r * per_row + h) * padded], width * sizeof(float));
    }
};

template <typename Kept>
void step(const Model &model, const Tokens &tokens, float *logits, int64_t threads) {
    static thread_local Scratch scratch;
    std::optional<Team> team;  // its size is what the runtime grants, not what was asked for
    Pass<Kept> pass(model, tokens, logits, scratch);
#pragma omp parallel num_threads(threads)
    {
#pragma omp single
        team.emplace(omp_get_num_threads());
        pass.run(*team, omp_get_thread_num());
    }
}

}  // namespace

extern "C" {

// What Python must know of how this was compiled: lanes, columns of a panel, whether int8 is fast here.
void sayso_describe(int64_t *out) {
    out[0] = LANES;
    out[1] = TILE_COLUMNS;
    out[2] = HAS_INT8;
    out[3] = MOST_PER_ROW;
    out[4] = GROUP;
}

// Rows of several matrices, one below the other, packed for `Linear`.
void sayso_pack(const Source *sources, int64_t num_sources, int64_t depth, int64_t is_int8, void *out,
                float *scale, int32_t *offset, int64_t threads) {
    std::vector<std::pair<const float *, const Source *>> rows;
    for (int64_t n = 0; n < num_sources; ++n)
        for (int64_t c = 0; c < sources[n].columns; ++c)
            rows.push_back({sources[n].data + c * sources[n].column_stride, &sources[n]});
    const int64_t columns = rows.size(), panels = ceil_div(columns, TILE_COLUMNS);
    const int64_t groups = ceil_div(depth, GROUP), deep = is_int8 ? groups * GROUP : depth;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t p = 0; p < panels; ++p)
        for (int64_t c = 0; c < TILE_COLUMNS; ++c) {
            const int64_t column = p * TILE_COLUMNS + c;
            const bool is_there = column < columns;
            const float *w = is_there ? rows[column].first : nullptr;
            const int64_t step = is_there ? rows[column].second->depth_stride : 0;
            if (!is_int8) {
                float *to = (float *)out + p * deep * TILE_COLUMNS + c;
                for (int64_t k = 0; k < depth; ++k) to[k * TILE_COLUMNS] = is_there ? w[k * step] : 0.0f;
                continue;
            }
            int8_t *to = (int8_t *)out + p * deep * TILE_COLUMNS + 4 * c;
            float most = 0, poison = 0;
            for (int64_t k = 0; is_there && k < depth; ++k) {
                most = std::max(most, std::fabs(w[k * step]));
                poison += w[k * step] * 0.0f;
            }
            const float inverse = most > 0 ? 127.0f / most : 0.0f;
            std::vector<int32_t> totals(groups);
            for (int64_t k = 0; k < deep; ++k) {
                const float level = is_there && k < depth ? std::nearbyintf(w[k * step] * inverse) : 0.0f;
                const int8_t q = level >= -127.0f ? (int8_t)level : -127;
                to[(k / 4) * 4 * TILE_COLUMNS + k % 4] = q;
                totals[k / GROUP] += q;
            }
            for (int64_t g = 0; g < groups; ++g)
                offset[(p * groups + g) * TILE_COLUMNS + c] = -128 * totals[g];
            scale[column] = most / 127.0f + poison;
        }
}

void sayso_step(const Model *model, const Tokens *tokens, float *logits, int64_t threads) {
    (model->is_int8 ? step<Byte> : step<float>)(*model, *tokens, logits, threads);
}

// One token per row of logits [rows, vocabulary] at one uniform number each, and its log-probability.
void sayso_draw(const float *logits, int64_t rows, int64_t vocabulary, double inverse_temperature,
                const double *uniform, int64_t *token, double *logprob, int64_t threads) {
    constexpr int64_t BLOCK = 256;
    const float t = (float)inverse_temperature;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < rows; ++r) {
        const float *row = logits + r * vocabulary;
        const int64_t whole = vocabulary / LANES * LANES;
        Floats most = splat(-INFINITY), odd = {};
        for (int64_t i = 0; i < whole; i += LANES) {
            const Floats l = load(row + i);
            most = select(l > most, l, most);
            odd += select(l > splat(-INFINITY), l * 0.0f, select(l == l, Floats{}, l));
        }
        float top = largest(most), poison = sum(odd);
        for (int64_t i = whole; i < vocabulary; ++i) {
            top = row[i] > top ? row[i] : top;
            poison += row[i] > -INFINITY ? row[i] * 0.0f : (row[i] == row[i] ? 0.0f : row[i]);
        }
        const auto weight = [&](int64_t at) {
            if (at < whole) return exponential((load(row + at) - top) * t);
            Floats in = splat(-INFINITY);
            for (int64_t i = at; i < vocabulary; ++i) in[i - at] = (row[i] - top) * t;
            return exponential(in);
        };
        std::vector<double> upto;
        upto.reserve(vocabulary / BLOCK + 1);
        double total = 0;
        for (int64_t at = 0; at < vocabulary;) {
            Floats block = {};
            const int64_t end = std::min(at + BLOCK, vocabulary);
            for (; at < end; at += LANES) block += weight(at);
            total += sum(block);
            upto.push_back(total);
        }
        const double target = uniform[r] * total;
        const int64_t block = std::upper_bound(upto.begin(), upto.end(), target) - upto.begin();
        int64_t found = -1, last = -1;
        double sum_here = block ? upto[std::min<int64_t>(block, upto.size()) - 1] : 0.0;
        for (int64_t at = block * BLOCK; at < vocabulary && found < 0; at += LANES) {
            const Floats w = weight(at);
            for (int64_t i = 0; i < LANES && at + i < vocabulary && found < 0; ++i) {
                sum_here += w[i];
                if (w[i] > 0) last = at + i;
                if (sum_here > target) found = at + i;
            }
        }
        if (found < 0) found = last >= 0 ? last : std::max_element(row, row + vocabulary) - row;
        token[r] = found;
        logprob[r] = std::min(0.0, (double)(row[found] - top) * inverse_temperature - std::log(total)) + poison;
    }
}

// Logits [rows, vocabulary] become probabilities at a temperature, in place; the log-probability of one
// token of each row.
void sayso_softmax(float *logits, int64_t rows, int64_t vocabulary, double inverse_temperature,
                   const int64_t *token, float *logprob, int64_t threads) {
    const float t = (float)inverse_temperature;
    const int64_t whole = vocabulary / LANES * LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < rows; ++r) {
        float *row = logits + r * vocabulary;
        Floats most = splat(-INFINITY);
        for (int64_t i = 0; i < whole; i += LANES) {
            const Floats l = load(row + i);
            most = select(l > most, l, most);
        }
        float top = largest(most);
        for (int64_t i = whole; i < vocabulary; ++i) top = row[i] > top ? row[i] : top;
        const float chosen = row[token[r]];
        double total = 0;
        Floats partial = {};
        for (int64_t i = 0; i < whole; i += LANES) {
            const Floats p = exponential((load(row + i) - top) * t);
            store(row + i, p);
            partial += p;
            if (i % 4096 == 0) {  // few enough additions for float32 between two to float64
                total += sum(partial);
                partial = Floats{};
            }
        }
        total += sum(partial);
        Floats rest = splat(-INFINITY);
        for (int64_t i = whole; i < vocabulary; ++i) rest[i - whole] = (row[i] - top) * t;
        rest = exponential(rest);
        for (int64_t i = whole; i < vocabulary; ++i) total += row[i] = rest[i - whole];
        const float inverse = (float)(1.0 / total);
        for (int64_t i = 0; i < whole; i += LANES) store(row + i, load(row + i) * inverse);
        for (int64_t i = whole; i < vocabulary; ++i) row[i] *= inverse;
        logprob[r] = (float)((double)(chosen - top) * inverse_temperature - std::log(total));
    }
}
}
