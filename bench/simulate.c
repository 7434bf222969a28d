/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * simulate [SEEDS HOURS]: plays long phases through the learner (lib/learn.c) in a model of a process (simulate.h), and says
 * what they cost as against each fixed strategy, in which time, and what exploration lost.
 */
#include "bench.h"
#include "simulate.h"

int main(int argc, char **argv)
{
    bench_prove();
    unsigned long seeds = bench_arg(argc, argv, 1, 5), hours = bench_arg(argc, argv, 2, 1);
    if (argc > 3 || !seeds || !hours)
        bench_usage("usage: simulate [SEEDS HOURS]");
    unsigned long_one = (unsigned)hours * 36000;
    struct bench_time t = bench_start();
    const struct { const char *name; unsigned count; struct sim_phase ph[3]; } work[] = {
        { "nothing to learn", 1, { { "calm", long_one, 500, 0, 1, 0, 1, 10 } } },
        { "nothing, noisy", 1, { { "calm", long_one, 500, 20, 200, 0, 1, 60 } } },
        { "swings in 3 s", 1, { { "swing", long_one, 500, 30, 3000, 0, 1, 10 } } },
        { "swings by 100 MiB", 1, { { "swing", long_one, 500, 100, 300, 0, 1, 10 } } },
        { "buffers", 1, { { "buffers", long_one, 500, 0, 1, 60, 200, 10 } } },
        { "swings in 20 s", 1, { { "rare", long_one, 500, 30, 20000, 0, 1, 10 } } },
        { "buffers, then rare", 2, { { "buffers", long_one / 2, 500, 0, 1, 60, 200, 10 },
                                     { "rare", long_one / 2, 500, 30, 20000, 60, 20000, 10 } } },
        { "calm, buffers, calm", 3, { { "calm", long_one / 3, 500, 0, 1, 0, 1, 10 }, { "buffers", long_one / 3, 500, 0, 1, 60, 200, 10 },
                                      { "calm", long_one / 3, 500, 0, 1, 0, 1, 10 } } },
    };
    uint64_t epochs = 0;
    printf("%-22s %9s %9s %9s %7s %7s %7s %7s %7s\n", "of the default's cost", "best", "learned", "at last", "lost %", "matches",
           "adopted", "back", "drifts");
    for (unsigned w = 0; w < sizeof work / sizeof *work; w++) {
        double best = 1, learned = 0, last = 0, lost = 0;
        unsigned matches = 0, adopted = 0, back = 0, drifts = 0;
        for (unsigned long seed = 1; seed <= seeds; seed++) {
            struct hkm_learn l;
            struct sim_result none = sim_run(work[w].ph, work[w].count, seed, NULL, 0);
            for (unsigned a = 0; a < HKM_LEARN_STRATEGIES; a++)
                for (unsigned b = 0; b < HKM_LEARN_STRATEGIES; b++) {
                    struct sim_result r = sim_run(work[w].ph, work[w].count, seed, NULL, 1u << a | 1u << b);
                    if ((double)r.cost / (double)none.cost < best)
                        best = (double)r.cost / (double)none.cost;
                    if (hkm_learn_group(a) > 1 || hkm_learn_group(b) > 1) /* the model does not tell the others apart */
                        break;
                }
            sim_ace = true;
            struct sim_result r = sim_run(work[w].ph, work[w].count, seed, &l, 0);
            sim_ace = false;
            learned += (double)r.cost / (double)none.cost / (double)seeds;
            last += (double)r.last / (double)none.last / (double)seeds;
            lost += 100 * (double)l.lost / (double)l.cost_all / (double)seeds;
            matches += l.matches; adopted += l.adopted; back += l.rolled_back; drifts += l.drifts;
            epochs += l.epochs;
        }
        printf("%-22s %9.3f %9.3f %9.3f %7.2f %7.1f %7.1f %7.1f %7.1f\n", work[w].name, best, learned, last, lost,
               (double)matches / (double)seeds, (double)adopted / (double)seeds, (double)back / (double)seeds,
               (double)drifts / (double)seeds);
    }
    bench_report("simulate", epochs, t);
    return 0;
}
