// Population annealing's resampling (Hukushima and Iba, 2003): when the temperature falls, chains
// multiply or die in proportion to exp(-(1/T' - 1/T) E).
#pragma once

#include <vector>

#include "matrix.h"

namespace dprune::cuda {

// parents[c]: the chain that takes the place of chain c; chains that survive keep their place.
//
// Where the weights would leave less than half of the population (effective size), the exponent is
// lowered until they do not: a short anneal must not collapse to one family. Systematic sampling
// with one uniform number in [0, 1): each chain has its expected number of offspring, rounded up
// or down.
std::vector<Index> resample(const std::vector<double>& energies, double beta_step, double uniform);

}  // namespace dprune::cuda
