/**
 * Felix's settings, of the whole cluster (`default`) or of one node (`node.NAME`). This program honours those that are
 * about routes, tunnels and their sizes. The others are accepted, kept as they are and reported as ignored, so that a
 * cluster's file fits; a name that is none of Felix's is refused like any other slip.
 */
import { z } from 'zod';
import * as f from '../fields.ts';
import { defineKind } from '../kind.ts';
import { priority, programmer } from './bgp-configuration.ts';

const mtu = f.optional(f.explicit(f.integer(0, 65_535)));
const explicitFlag = f.optional(f.explicit(f.flag));

const spec = f.section({
  routeRefreshInterval: f.withDefault(f.duration(), 90),
  interfacePrefix: f.withDefault(f.text(64), 'cali'),
  logSeverityScreen: f.withDefault(f.text(32), 'Info'),
  ipipEnabled: explicitFlag,
  ipipMTU: mtu,
  vxlanEnabled: explicitFlag,
  vxlanMTU: mtu,
  vxlanMTUV6: mtu,
  vxlanPort: f.withDefault(f.integer(1, 65_535), 4789),
  vxlanVNI: f.withDefault(f.integer(1, 2 ** 24 - 1), 4096),
  mtuIfacePattern: f.optional(f.text(256)),
  deviceRouteSourceAddress: f.optional(f.address(4)),
  deviceRouteSourceAddressIPv6: f.optional(f.address(6)),
  programClusterRoutes: f.optional(programmer),
  externalNodesList: f.withDefault(f.list(f.interfaceAddress(), 'addresses or IP prefixes'), []),
  natOutgoingExclusions: f.optional(f.choice('IPPoolsOnly', 'IPPoolsAndHostIPs')),
  ipv4NormalRoutePriority: f.withDefault(priority, 1024),
  ipv6NormalRoutePriority: f.withDefault(priority, 1024),
});
export type FelixConfigurationSpec = z.output<typeof spec>;

const ignored = `
  allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads awsSrcDstCheck bpfAttachType bpfCTLBLogFilter
  bpfConnectTimeLoadBalancing bpfConnectTimeLoadBalancingEnabled bpfConntrackLogLevel bpfConntrackMode
  bpfConntrackTimeouts bpfDSROptoutCIDRs bpfDataIfacePattern bpfDisableGROForIfaces bpfDisableUnprivileged
  bpfEnabled bpfEnforceRPF bpfExcludeCIDRsFromNAT bpfExportBufferSizeMB bpfExtToServiceConnmark
  bpfExternalServiceMode bpfForceTrackPacketsFromIfaces bpfHostConntrackBypass bpfHostNetworkedNATWithoutCTLB
  bpfIPFragTimeout bpfIPFragmentReassemblyEnabled bpfJITHardening bpfKubeProxyHealthzPort
  bpfKubeProxyIptablesCleanupEnabled bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogFilters bpfLogLevel
  bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices bpfMapSizeConntrack bpfMapSizeConntrackCleanupQueue
  bpfMapSizeConntrackScaling bpfMapSizeIPSets bpfMapSizeIfState bpfMapSizeNATAffinity bpfMapSizeNATBackend
  bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute bpfOverlayHostSourceIP bpfPSNATPorts
  bpfPolicyDebugEnabled bpfProfiling bpfRedirectToPeer cgroupV2Path chainInsertMode dataplaneDriver
  dataplaneWatchdogTimeout debugDisableLogDropping debugHost debugMemoryProfilePath debugPort
  debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter
  defaultEndpointToHostAction deviceRouteProtocol disableConntrackInvalidCheck endpointReportingDelay
  endpointReportingEnabled endpointStatusPathPrefix failsafeInboundHostPorts failsafeOutboundHostPorts
  featureDetectOverride featureGates floatingIPs flowLogsCollectorDebugTrace flowLogsFlushInterval
  flowLogsGoldmaneServer flowLogsLocalReporter flowLogsPolicyEvaluationMode genericXDPEnabled goGCThreshold
  goMaxProcs goMemoryLimitMB healthEnabled healthHost healthPort healthTimeoutOverrides interfaceExclude
  interfaceRefreshInterval ipForwarding ipsetsRefreshInterval iptablesBackend iptablesFilterAllowAction
  iptablesFilterDenyAction iptablesLockProbeInterval iptablesMangleAllowAction iptablesMarkMask
  iptablesNATOutgoingInterfaceFilter iptablesPostWriteCheckInterval iptablesRefreshInterval
  ipv4ElevatedRoutePriority ipv6ElevatedRoutePriority ipv6Support istioAmbientMode istioDSCPMark
  kubeNodePortRanges liveMigrationRouteConvergenceTime localSubnetL2Reachability
  localSubnetL2ReachabilityRefreshInterval logActionRateLimit logActionRateLimitBurst logDebugFilenameRegex
  logFilePath logPrefix logSeverityFile logSeveritySys maxIpsetSize metadataAddr metadataPort
  natOutgoingAddress natPortRange netlinkTimeout nftablesFilterAllowAction
  nftablesFilterDenyAction nftablesFlowTableDataIfacePattern nftablesFlowTableOffload
  nftablesMangleAllowAction nftablesMarkMask nftablesMode nftablesRefreshInterval nodeSelector
  openstackRegion policySyncPathPrefix prometheusGoMetricsEnabled prometheusMetricsCAFile
  prometheusMetricsCertFile prometheusMetricsClientAuth prometheusMetricsEnabled prometheusMetricsHost
  prometheusMetricsKeyFile prometheusMetricsPort prometheusProcessMetricsEnabled
  prometheusWireGuardMetricsEnabled removeExternalRoutes reportingInterval reportingTTL requireMTUFile
  routeSource routeSyncDisabled routeTableRange routeTableRanges serviceLoopPrevention
  sidecarAccelerationEnabled usageReportingEnabled usageReportingInitialDelay usageReportingInterval
  useInternalDataplaneDriver windowsManageFirewallRules wireguardEnabled wireguardEnabledV6
  wireguardHostEncryptionEnabled wireguardInterfaceName wireguardInterfaceNameV6 wireguardKeepAlive
  wireguardListeningPort wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority
  wireguardThreadingEnabled workloadSourceSpoofing xdpEnabled xdpRefreshInterval
`;

export const felixConfiguration = defineKind<'FelixConfiguration', FelixConfigurationSpec>({
  kind: 'FelixConfiguration',
  plural: 'felixconfigurations',
  shortNames: ['felixconfig', 'felixconfigs'],
  namespaced: false,
  spec,
  ignored: ignored.trim().split(/\s+/),
  columns: [{ heading: 'NAME', cell: (config) => config.name }],
});
